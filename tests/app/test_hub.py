"""The hub rides out a Redis that goes, wakes who waits for an upload, and rests when nobody listens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from app import hub as module
from app.hub import Hub, within
from app.shared.events import Event, publish, wake
from app.shared.wire.generation import Generation, Progress, Status
from tests.app.shared.making import request

PATIENCE_S = 60


class Line:
    """A TCP line to Redis that can be cut and mended."""

    def __init__(self, url: str) -> None:
        self._host, _, port = url.removeprefix("redis://").partition("/")[0].partition(":")
        self._port = int(port)
        self._ends: list[asyncio.StreamWriter] = []
        self._cut = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        self.cut()
        server.close()

    def cut(self) -> None:
        self._cut = True
        for writer in self._ends:
            writer.close()
        self._ends.clear()

    def mend(self) -> None:
        self._cut = False

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.close()
            return
        there, back = await asyncio.open_connection(self._host, self._port)
        self._ends += [writer, back]
        await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer), return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


class Stored:
    """Ends as storage has them."""

    def __init__(self) -> None:
        self.ends: dict[str, Generation] = {}

    def __call__(self, generation_id: str) -> Generation | None:
        return self.ends.get(generation_id)


async def told(hub: Hub, name: str) -> list[Event]:
    async with asyncio.timeout(PATIENCE_S):
        return [event async for events in hub.follow(name) for event in events]


def ended(name: str) -> Generation:
    return Generation.model_validate(
        {
            "id": name,
            "status": Status.CANCELED,
            "progress": Progress(steps=3),
            "request": request(),
            "created_at": "2026-01-01T00:00:00Z",
        }
    )


def test_a_redis_that_goes_and_comes_is_ridden_out_with_a_line_each(redis: Redis, valkey: str) -> None:
    async def run() -> tuple[list[Event], list[Event]]:
        line, stored = Line(valkey), Stored()
        async with line.open() as url, AsyncRedis.from_url(url, retry=None) as through:
            hub = Hub(through, stored)
            one, other = asyncio.create_task(told(hub, "1" * 32)), asyncio.create_task(told(hub, "2" * 32))
            await asyncio.to_thread(publish, redis, "2" * 32, "status", {"status": "running"}, 60)
            await asyncio.sleep(0.3)
            line.cut()
            stored.ends["1" * 32] = ended("1" * 32)
            first = await one
            await asyncio.to_thread(publish, redis, "2" * 32, "status", {"status": "succeeded"}, 60)
            line.mend()
            second = await other
            await hub.aclose()
        return first, second

    with structlog.testing.capture_logs() as lines:
        by_storage, by_stream = asyncio.run(run())
    assert [event.data["status"] for event in by_storage] == ["canceled"]
    assert [event.data["status"] for event in by_stream] == ["running", "succeeded"]
    assert [line["event"] for line in lines if line["log_level"] != "info"] == ["events_interrupted"]


@pytest.mark.parametrize("protocol", [2, 3])
def test_what_settles_wakes_who_waits_for_it_and_the_hub_rests_after(redis: Redis, valkey: str, protocol: int) -> None:
    async def run() -> None:
        async with AsyncRedis.from_url(f"{valkey}?protocol={protocol}") as through:
            hub = Hub(through, Stored())
            with hub.watching("upload") as change, hub.watching("other") as other:
                assert await within(change, PATIENCE_S), "told once at the start: something may have been missed"
                other.clear()
                change.clear()
                await asyncio.to_thread(wake, redis, "upload")
                assert await within(change, PATIENCE_S)
                assert not other.is_set()
            async with asyncio.timeout(PATIENCE_S):
                while await asyncio.to_thread(redis.pubsub_channels):
                    await asyncio.sleep(0.1)

    asyncio.run(run())


@pytest.mark.parametrize("part", ["_hear", "_read", "_look", "_end_in_storage"])
@pytest.mark.parametrize("error", [KeyError("a fault of ours"), OSError("too many open files"), TypeError()], ids=repr)
def test_a_fault_nobody_foresaw_holds_up_no_listener(
    redis: Redis, valkey: str, monkeypatch: pytest.MonkeyPatch, part: str, error: Exception
) -> None:
    """It is told with its trace, once, and the listener who is there hears the rest without another one coming."""

    async def run() -> list[Event]:
        async with AsyncRedis.from_url(valkey) as through:
            hub, faults = Hub(through, Stored()), 0
            really = getattr(hub, part)

            def fails() -> None:
                nonlocal faults
                faults += 1
                if faults <= 2:
                    raise error

            async def soon(*given: Any) -> Any:
                fails()
                return await really(*given)

            def at_once(*given: Any) -> Any:
                fails()
                return really(*given)

            setattr(hub, part, at_once if part == "_end_in_storage" else soon)
            listener = asyncio.create_task(told(hub, "1" * 32))
            while faults < 3:
                await asyncio.sleep(0.05)
            await asyncio.to_thread(publish, redis, "1" * 32, "status", {"status": "succeeded"}, 60)
            heard = await listener
            await hub.aclose()
        return heard

    monkeypatch.setattr(module, "LOOK_S", 0.1)
    monkeypatch.setattr(module, "AGAIN_S", 0.1)
    with structlog.testing.capture_logs() as lines:
        heard = asyncio.run(run())
    assert [event.data["status"] for event in heard] == ["succeeded"]
    warned = [line for line in lines if line["event"] == "events_interrupted"]
    assert warned and all(line["exc_info"] is error for line in warned)
