"""Logs: one line of JSON an event on standard error, or readable lines on a terminal."""

import io
import logging
import os
import re
import sys
from typing import Any

import structlog

KEPT = ("timestamp", "level")
TALKATIVE = ("rq.worker", "rq.job", "httpx", "httpcore", "uvicorn")  # what they tell at "info" is not news here

SENTENCES = {  # events that whoever sits at a terminal is told in a sentence
    "worker_ready": "model {model!r} is ready to draw: base {base}, on {device}, loaded in {seconds} s",
    "intake_ready": "ready to inspect uploads, after {seconds} s",
    "redis_away": "Redis does not answer ({error}); it is waited for, {patience_s:g} seconds at most",
}


def _in_a_sentence(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    sentence = SENTENCES.get(str(event["event"]))
    return (
        {name: event[name] for name in KEPT if name in event} | {"event": sentence.format_map(event)}
        if sentence
        else event
    )


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
    spoken = [_in_a_sentence] if terminal else []
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
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tracebacks, *spoken, renderer],
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
