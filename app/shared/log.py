"""Logs: one line of JSON an event on standard error, or readable lines on a terminal.

What a line is about (`request_id`, and the generation, upload or training) is bound to the context of whoever handles
it; what it must not say is taken out by `app/shared/discretion.py`.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, get_contextvars

from app.shared.discretion import Discretion, hide

KEPT = ("timestamp", "level")
REQUEST_ID = "request_id"
QUIET = ("generation_ended",)  # events that nobody at a terminal needs, who sees the pictures
TALKATIVE = ("rq.worker", "rq.job", "httpx", "httpcore", "uvicorn")  # what they tell at "info" is not news here

SENTENCES = {  # events that whoever sits at a terminal is told in a sentence
    "worker_ready": "model {model!r} is ready to draw: base {base}, on {device}, loaded in {seconds} s",
    "intake_ready": "ready to inspect uploads, after {seconds} s",
    "redis_away": "Redis does not answer ({error}); it is waited for, {patience_s:g} seconds at most",
}


def _in_a_sentence(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if event["event"] in QUIET:
        raise structlog.DropEvent
    sentence = SENTENCES.get(str(event["event"]))
    return (
        {name: event[name] for name in KEPT if name in event} | {"event": sentence.format_map(event)}
        if sentence
        else event
    )


@contextmanager
def about(**what: str) -> Iterator[None]:
    """Have every line within say what it is about, and of no prompt but those that are named within."""
    with bound_contextvars(**what, **{REQUEST_ID: ""}):
        hide(())
        yield


def request_id() -> str:
    """The id of the request that is handled; empty where none is."""
    return str(get_contextvars().get(REQUEST_ID, ""))


def asked_by(given: str) -> None:
    """Have the lines of this context name the request that asked for what is done."""
    bind_contextvars(**{REQUEST_ID: given})


def configure(level: str, prompts: bool = False) -> None:
    """Send this process's logs, the libraries' too, to standard error at `level` and above.

    prompts: whether they may say what pictures are asked for.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    terminal = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    plain = structlog.dev.plain_traceback  # a richer one shows what variables hold
    renderer = (
        structlog.dev.ConsoleRenderer(exception_formatter=plain) if terminal else structlog.processors.JSONRenderer()
    )
    spoken = [_in_a_sentence] if terminal else []
    told: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, Discretion(prompts=prompts)]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *spoken, *told, renderer],
            foreign_pre_chain=shared,
        )
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(number)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
