"""The stream of a generation: said to be missing before it begins, ended at once, and never left open."""

import time
from typing import Any

import httpx
import pytest
from redis import Redis

from app.routes.events import WAIT_MS
from app.shared.events import stream_key
from app.shared.ledger import Ledger
from app.shared.schema import Status
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.app.shared.making import request


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


def url(generation_id: str) -> str:
    return f"/v1/generations/{generation_id}/events"


@pytest.mark.parametrize("name", ["0" * 32, "nobody", "..%2f..%2fetc"])
def test_a_generation_that_is_not_there_is_a_404_and_no_stream(api: httpx.Client, name: str) -> None:
    answer = api.get(url(name))
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("lost", [False, True])
def test_what_has_ended_is_told_at_once(api: httpx.Client, ledger: Ledger, redis: Redis, lost: bool) -> None:
    generation = ledger.accept(request)
    ledger.finish(generation.model_copy(update={"status": Status.SUCCEEDED}))
    if lost:
        redis.delete(stream_key(generation.id))
    started = time.monotonic()
    text = api.get(url(generation.id)).text
    assert '"succeeded"' in text
    assert time.monotonic() - started < WAIT_MS / 1000, "nothing follows an end: there is nothing to wait for"


def test_an_end_whose_event_was_lost_while_listening_is_told(api: httpx.Client, ledger: Ledger, redis: Redis) -> None:
    generation = ledger.accept(request)
    with api.stream("GET", url(generation.id)) as response:
        lines = response.iter_lines()
        assert any("queued" in line for line in lines)
        ledger.finish(generation.model_copy(update={"status": Status.CANCELED}))
        redis.delete(stream_key(generation.id))
        assert any("canceled" in line for line in lines)
        assert [line for line in lines if line.startswith("data")] == []


def test_a_listener_that_leaves_leaves_no_connection(api: httpx.Client, ledger: Ledger, redis: Redis) -> None:
    generation = ledger.accept(request)

    def blocked() -> int:
        clients: Any = redis.client_list()
        return sum(client["cmd"] == "xread" and "b" in client["flags"] for client in clients)

    for _ in range(5):
        with api.stream("GET", url(generation.id)) as response:
            assert any("queued" in line for line in response.iter_lines())
            while not blocked():
                time.sleep(0.01)
    until = time.monotonic() + 10
    while blocked() and time.monotonic() < until:
        time.sleep(0.05)
    assert blocked() == 0
    connections: Any = redis.client_list()
    assert len(connections) < 10, f"{len(connections)} connections are open"
