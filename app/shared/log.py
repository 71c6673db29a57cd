"""Logs: one line of JSON an event on standard error, or readable lines on a terminal."""

import io
import logging
import os
import re
import sys

import structlog

TALKATIVE = ("rq.worker", "rq.job", "httpx", "httpcore", "uvicorn")  # what they tell at "info" is not news here


def configure(level: str) -> None:
    """Send this process's logs, the libraries' too, to standard error at `level` and above."""
    number = logging.getLevelNamesMapping()[level.upper()]
    terminal = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    tracebacks: list[structlog.typing.Processor] = [] if terminal else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tracebacks, renderer],
            foreign_pre_chain=shared,
        )
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(number)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def speak_any_encoding() -> None:
    """Have a terminal that cannot show a letter show its number, and read UTF-8 arguments where the locale does not."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.argv = [
        os.fsencode(text).decode(errors="surrogateescape") if re.search("[\udc80-\udcff]", text) else text
        for text in sys.argv
    ]
