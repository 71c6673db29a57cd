"""What is logged is a line of JSON, and to somebody at a terminal a sentence where there is one."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from app.shared import log

FACTS = {"model": "m", "base": "0123", "device": "cpu", "seconds": 1.5, "error": "refused", "patience_s": 60.0}


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = logging.root.handlers, logging.root.level
    yield
    logging.root.handlers, level = before
    logging.root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("event", [*log.SENTENCES, "anything_else"])
def test_a_terminal_is_told_sentences(event: str, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr(said, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", said)
    log.configure("info")
    structlog.get_logger().warning(event, **FACTS)
    (line,) = said.getvalue().splitlines()
    if not terminal:
        assert json.loads(line).items() >= {**FACTS, "event": event, "level": "warning"}.items()
    elif event in log.SENTENCES:
        assert log.SENTENCES[event].format_map(FACTS) in line and "=" not in line
    else:
        assert event in line and "model" in line
