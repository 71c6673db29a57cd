"""Streams of generations: said to be missing before they begin, ended for every listener, and never left open."""

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
from redis import Redis

from app.routes import events
from app.shared.events import publish, stream_key
from app.shared.generations import Ledger
from app.shared.keys import Keyring
from app.shared.previews import DATA_URL, Preview, send, watched
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Generation, Status
from tests.app.conftest import serving
from tests.app.listening import Listener, allow_many_files, listeners
from tests.app.shared.making import MODEL, profile, request

PATIENCE_S = 60
MANY = 1000


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


def url(generation_id: str) -> str:
    return f"/v1/generations/{generation_id}/events"


def finish(ledger: Ledger, generation: Generation, status: Status = Status.SUCCEEDED) -> None:
    ledger.finish(generation.model_copy(update={"status": status}))


def eventually(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("name", ["0" * 32, "nobody", "..%2f..%2fetc"])
def test_a_generation_that_is_not_there_is_a_404_and_no_stream(api: httpx.Client, name: str) -> None:
    answer = api.get(url(name))
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("last", [None, "0", "9" * 19, "9" * 20, "5-9", "x", "-1"])
@pytest.mark.parametrize("lost", [False, True])
def test_what_has_ended_is_told_wherever_one_goes_on(
    api: httpx.Client, ledger: Ledger, redis: Redis, lost: bool, last: str | None
) -> None:
    generation = ledger.accept(request())
    finish(ledger, generation)
    if lost:
        redis.delete(stream_key(generation.id))
    text = api.get(url(generation.id), headers={"Last-Event-ID": last} if last else {}).text
    assert '"succeeded"' in text
    assert ('"queued"' in text) == (not lost and last != "9" * 19)


def test_an_end_whose_event_was_lost_while_listening_is_told(api: httpx.Client, ledger: Ledger, redis: Redis) -> None:
    generation = ledger.accept(request())
    with api.stream("GET", url(generation.id)) as response:
        lines = response.iter_lines()
        assert any("queued" in line for line in lines)
        ledger.finish(generation.model_copy(update={"status": Status.CANCELED}))
        redis.flushall()
        assert any("canceled" in line for line in lines)
        assert [line for line in lines if line.startswith("data")] == []


def test_a_strangers_entry_and_a_strangers_key_trouble_nobody(api: httpx.Client, ledger: Ledger, redis: Redis) -> None:
    generation, spoilt = ledger.accept(request()), ledger.accept(request())
    redis.delete(stream_key(spoilt.id))
    redis.set(stream_key(spoilt.id), "no stream")
    redis.xadd(stream_key(generation.id), {"kind": "status", "data": "{"})
    with api.stream("GET", url(spoilt.id)) as waiting, api.stream("GET", url(generation.id)) as response:
        finish(ledger, generation)
        assert [line for line in response.iter_lines() if "succeeded" in line]
        with pytest.raises(Exception, match="WRONGTYPE"):
            finish(ledger, spoilt)
        assert [line for line in waiting.iter_lines() if "succeeded" in line], "storage knows"


@pytest.mark.parametrize("on_one", [True, False], ids=["one generation", "a generation each"])
def test_a_thousand_listeners_get_every_event_and_cost_two_connections(
    api: httpx.Client, ledger: Ledger, redis: Redis, on_one: bool, caplog: pytest.LogCaptureFixture
) -> None:
    many = min(MANY, (allow_many_files() - 200) // 2)
    generations = [ledger.accept(request()) for _ in range(1 if on_one else many)]

    async def listen() -> list[list[tuple[str, str, Any]]]:
        found = await listeners(api.base_url, [generations[number % len(generations)].id for number in range(many)])
        await asyncio.gather(*(one.begun() for one in found))
        connections: Any = await asyncio.to_thread(redis.client_list)
        assert len(connections) < 60, f"{len(connections)} connections to Redis"  # threads of requests have theirs
        listening = asyncio.gather(*(one.to_the_end() for one in found))
        for generation in generations:
            await asyncio.to_thread(ledger.step, generation.id, 1, 3)
            await asyncio.to_thread(finish, ledger, generation)
        return await listening

    told = asyncio.run(listen())
    stories = {tuple((kind, data.get("status")) for _, kind, data in heard) for heard in told}
    assert stories == {(("status", "queued"), ("progress", None), ("status", "succeeded"))}
    assert errors(caplog) == []


def test_a_listener_goes_on_where_it_was_however_long_the_stream(
    api: httpx.Client, ledger: Ledger, redis: Redis
) -> None:
    generation = ledger.accept(request())
    for step in range(1500):
        ledger.step(generation.id, step, 1500)
    finish(ledger, generation)

    async def listen(last: str | None) -> list[tuple[str, str, Any]]:
        return await (await Listener.connect(api.base_url, generation.id, last)).to_the_end()

    whole = asyncio.run(listen(None))
    assert [data["step"] for _, kind, data in whole if kind == "progress"] == list(range(1500))
    for place in (0, 1, 700, 1400, len(whole) - 2):
        assert asyncio.run(listen(whole[place][0])) == whole[place + 1 :]


def test_listeners_that_vanish_at_any_moment_leave_no_trace(
    api: httpx.Client, ledger: Ledger, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(7)
    generations = [ledger.accept(request()) for _ in range(10)]
    with redis.pipeline() as pipe:
        for generation in generations:
            for step in range(3000):
                publish(pipe, generation.id, "progress", {"step": step, "steps": 3000}, keep_s=600)
        pipe.execute()

    async def vanish(number: int) -> None:
        one = await Listener.connect(api.base_url, generations[number % 10].id)
        await asyncio.sleep(chance.random() * 3)
        one.vanish(chance)

    async def crowd() -> None:
        vanishing = asyncio.gather(*(vanish(number) for number in range(100)))
        for step in range(100):
            await asyncio.to_thread(ledger.step, chance.choice(generations).id, step, 100)
        for generation in generations[:5]:
            await asyncio.to_thread(finish, ledger, generation)
        await vanishing

    asyncio.run(crowd())

    def listening() -> int:
        clients: Any = redis.client_list()
        return sum(int(client["sub"]) for client in clients)

    eventually(lambda: listening() == 0)
    assert errors(caplog) == []
    assert len(redis.client_list()) < 60  # type: ignore[arg-type]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("asked", [True, False])
def test_previews_are_sent_to_who_asks_and_stand_in_no_stream(
    api: httpx.Client, ledger: Ledger, redis: Redis, asked: bool
) -> None:
    generation = ledger.accept(request())
    told: list[str] = []
    with api.stream("GET", url(generation.id), params={"previews": "1"} if asked else {}) as answer:
        for line in answer.iter_lines():
            told.append(line)
            if line.startswith("data:") and "queued" in line:
                assert watched(redis, generation.id) is asked
                send(redis, generation.id, Preview(index=0, step=1, width=8, height=8, data=f"{DATA_URL}AAAA"))
                ledger.step(generation.id, 1, 3)
            if line == "event: progress":
                finish(ledger, generation)
    assert told.count("event: preview") == asked
    assert b"preview" not in {fields[b"kind"] for _, fields in redis.xrange(stream_key(generation.id))}  # type: ignore[union-attr]
    if asked:
        at = told.index("event: preview")
        assert json.loads(told[at + 1].removeprefix("data: "))["data"] == f"{DATA_URL}AAAA"
        assert at < told.index("event: progress"), "it has no place that one could go on from"


def test_no_face_has_a_stream_that_is_not_counted(
    storage: Storage, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_STREAMS", 0)
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    body = {"prompt": "an apple"}
    with serving(settings.model_copy(update={"accept_without_worker_s": -1})) as api:
        one = api.post("/v1/generations", json=body).json()["id"]
        answers = [
            api.get(url(one)),
            api.post("/openai/v1/images/generations", json=body | {"stream": True}),
            api.post(f"/fal/run/radiata/{MODEL}/stream", json=body),
            api.get(f"/fal/queue/radiata/{MODEL}/requests/{one}/status/stream"),
            api.get(f"/replicate/v1/predictions/{one}/stream"),
            api.get(f"/comfy/api/v2/jobs/{one}/events"),
        ]
        assert [answer.status_code for answer in answers] == [503] * 6, [answer.text for answer in answers]
        assert len(api.get("/v1/generations").json()["generations"]) == 1, "none was accepted to be followed by nobody"


def test_so_many_streams_are_open_at_once_and_fewer_of_one_owner(
    storage: Storage, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_STREAMS", 3)
    monkeypatch.setattr(events, "MOST_OF_ONE", 2)
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    keys = {owner: {"X-API-Key": Keyring(storage).add(("draw",), owner=owner)[1]} for owner in ("ada", "bob", "eve")}
    made = {owner: Ledger(storage, redis, settings, owner).accept(request()).id for owner in keys}

    def opened(api: httpx.Client, owner: str) -> AbstractContextManager[httpx.Response]:
        return api.stream("GET", url(made[owner]), headers=keys[owner])

    def refused(api: httpx.Client, owner: str) -> tuple[int, str]:
        with opened(api, owner) as answer:
            answer.read()
        assert 0 < int(answer.headers["Retry-After"]) <= 60
        return answer.status_code, answer.json()["code"]

    with serving(settings) as api:
        with opened(api, "ada"), opened(api, "bob"), opened(api, "ada") as last:
            assert last.status_code == 200
            assert refused(api, "ada") == (429, "too_many_streams")
            assert refused(api, "eve") == (503, "too_many_streams")
        for owner in keys:
            Ledger(storage, redis, settings, owner).cancel(made[owner])
        for owner in ("ada", "ada", "eve"):

            def is_open(owner: str = owner) -> bool:
                with opened(api, owner) as answer:
                    return answer.status_code == 200

            eventually(is_open)
