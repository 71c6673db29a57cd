"""An engine process that is told to end does so, whatever it does just then, and no order that it read is lost."""

import json
import os
import queue
import signal
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import IO, Any

import pytest
from redis import Redis

from app.shared.errors import Unavailable
from app.shared.queue import generation_queue
from app.shared.settings import Settings
from tests.app.shared.making import MODEL
from workers import tasks
from workers.dispatch import engine_main

ORDER = {"job": "0" * 32, "execution": "1" * 32, "queue": generation_queue(MODEL)}


@pytest.fixture(autouse=True)
def _handlers_are_left_as_they_were() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class _Engine(SimpleNamespace):
    """What `main` asks of an engine."""

    leaving = False

    def leave(self) -> None:
        self.leaving = True

    def idle(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def stopped(*_: Any) -> None:
    """Somebody stops this process just now."""
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("when", ["loading", "drawing", "idle"])
def test_an_engine_that_is_told_to_end_ends(
    when: str, settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, done = _Engine(base="b", device="cpu", active=[], resident=[]), list[tuple[str, bool]]()

    publisher = SimpleNamespace(look_again=lambda: None, note_fetched=lambda: False, preprocessors={})

    def load(*_: Any) -> tuple[Any, Any]:
        if when == "loading":
            stopped()
            time.sleep(60)  # it is not waited for
        return engine, publisher

    def perform(job: str, *_: Any) -> None:
        done.append((job, engine.leaving))
        if when == "loading":
            with pytest.raises(Unavailable):  # which is no try, and puts it back
                tasks.generate(job)
        if when == "drawing":
            stopped()

    def listen(source: IO[str], orders: "queue.SimpleQueue[dict[str, str]]") -> None:
        source.close()
        if when != "idle":
            orders.put(ORDER)

    for name, stand_in in {"_load": load, "perform": perform, "_listen": listen, "IDLE_S": 0.01}.items():
        monkeypatch.setattr(engine_main, name, stand_in)
    orders_read, orders_write = os.pipe()
    replies_read, replies_write = os.pipe()
    monkeypatch.setattr(tasks, "_engine", None)
    began = time.monotonic()
    engine_main.main(MODEL, "worker", orders_read, replies_write, settings)
    assert time.monotonic() - began < 30
    with os.fdopen(replies_read) as written:
        replies = [json.loads(line) for line in written]
    os.close(orders_write)
    assert engine.leaving is (when != "loading")
    assert done == ([] if when == "idle" else [(ORDER["job"], False)])
    assert [reply["done"] for reply in replies] == [job for job, _ in done]
    assert all(("base" in reply) is (when != "loading") for reply in replies)
