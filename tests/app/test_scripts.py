"""Scripts for many: one round trip, each its own answer and its own error, and nobody is left waiting."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.scripts import Script, Scripts
from app.shared.connection import ANSWER_S, Shutter, connect_async
from app.shared.settings import Settings

ECHO = Script("return ARGV[1]")
COUNT = Script("return redis.call('INCR', KEYS[1])")
WRONG = Script("return redis.call('LPUSH', KEYS[1], 'text')")


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


@asynccontextmanager
async def scripts(settings: Settings) -> AsyncIterator[Scripts]:
    one = Scripts(connect_async(settings, Shutter()))
    yield one
    await one.aclose()


def test_each_hears_its_own_answer_and_they_share_round_trips(redis: Redis, settings: Settings) -> None:
    async def ask() -> tuple[list[Any], int]:
        async with scripts(settings) as one:
            await one.run(ECHO, [], ["first"])
            sent: list[int] = []
            answers = one._answers

            async def counted(calls: Any, by_name: bool = True) -> Any:
                sent.append(len(calls))
                return await answers(calls, by_name)

            one._answers = counted  # type: ignore[method-assign]
            return list(await asyncio.gather(*(one.run(ECHO, [], [number]) for number in range(300)))), len(sent)

    answers, trips = run(ask())
    assert answers == [str(number).encode() for number in range(300)] and trips <= 3


def test_an_error_is_its_own(redis: Redis, settings: Settings) -> None:
    redis.set("text", "text")

    async def ask() -> list[Any]:
        async with scripts(settings) as one:
            calls = (one.run(ECHO, [], ["a"]), one.run(WRONG, ["text"]), one.run(ECHO, [], ["b"]))
            return list(await asyncio.gather(*calls, return_exceptions=True))

    first, wrong, last = run(ask())
    assert (first, last) == (b"a", b"b") and isinstance(wrong, ResponseError)


def test_a_server_that_forgot_the_scripts_runs_each_once(redis: Redis, settings: Settings) -> None:
    async def ask() -> list[int]:
        async with scripts(settings) as one:
            counted = [await one.run(COUNT, ["number"])]
            redis.script_flush()
            return counted + sorted(await asyncio.gather(*(one.run(COUNT, ["number"]) for _ in range(20))))

    assert run(ask()) == list(range(1, 22))


def test_who_stops_waiting_takes_nothing_from_the_others(redis: Redis, settings: Settings) -> None:
    async def ask() -> list[Any]:
        async with scripts(settings) as one:
            tasks = [asyncio.create_task(one.run(ECHO, [], [number])) for number in range(3)]
            await asyncio.sleep(0)
            tasks[1].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

    first, gone, last = run(ask())
    assert (first, last) == (b"0", b"2") and isinstance(gone, asyncio.CancelledError)


def test_nobody_is_left_waiting_when_the_service_stops(redis: Redis, settings: Settings) -> None:
    async def ask() -> list[Any]:
        one = Scripts(connect_async(settings, Shutter()))
        tasks = [asyncio.create_task(one.run(ECHO, [], [number])) for number in range(3)]
        await asyncio.sleep(0)
        await one.aclose()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)

    assert all(isinstance(one, RedisConnectionError | bytes) for one in run(ask()))


@pytest.mark.parametrize(("refuses", "error"), [(True, RedisConnectionError), (False, RedisTimeoutError)])
def test_a_redis_that_is_away_is_told_to_all_and_soon_after_at_once(
    settings: Settings, refuses: bool, error: type[RedisError]
) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if not refuses:
            server.listen()  # takes connections, and never answers
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        away = settings.model_copy(update={"redis_url": SecretStr(url)})

        async def ask() -> list[Any]:
            async with scripts(away) as one:
                rounds = []
                for _ in range(2):
                    began = time.monotonic()
                    calls = [one.run(ECHO, [], [number]) for number in range(20)]
                    rounds.append((await asyncio.gather(*calls, return_exceptions=True), time.monotonic() - began))
            return rounds

        (first, _), (second, seconds) = run(ask())
    assert [type(one) for one in first] == [error] * 20
    assert [type(one) for one in second] == [RedisConnectionError] * 20
    assert all("a moment ago" in str(one) for one in second) and seconds < ANSWER_S
