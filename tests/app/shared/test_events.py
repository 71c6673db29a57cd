"""Followers see every event once, in order, from where they left off."""

import asyncio
from collections.abc import Callable

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from app.shared.events import Event, follow, publish, stream_key

ID = "0" * 32


def followed(url: str, after: str, many: int, meanwhile: Callable[[], None] = lambda: None) -> list[Event | None]:
    async def take() -> list[Event | None]:
        seen: list[Event | None] = []
        async with AsyncRedis.from_url(url) as redis:
            async for event in follow(redis, ID, after, wait_ms=50):
                seen.append(event)
                if len(seen) == 1:
                    meanwhile()
                if len(seen) == many:
                    break
        return seen

    return asyncio.run(take())


@pytest.mark.parametrize("protocol", [2, 3])
def test_every_event_comes_once_and_a_follower_goes_on_where_it_was(redis: Redis, valkey: str, protocol: int) -> None:
    for step in range(5):
        publish(redis, ID, "progress", {"step": step, "ü": "\n"}, keep_s=60)
    url = f"{valkey}?protocol={protocol}"
    first = followed(url, "0", 3)
    assert [event and event.data["step"] for event in first] == [0, 1, 2]
    assert first[-1] is not None
    rest = followed(url, first[-1].id, 3)
    assert [event and event.data for event in rest] == [{"step": 3, "ü": "\n"}, {"step": 4, "ü": "\n"}, None]


def test_an_event_that_comes_later_is_seen(redis: Redis, valkey: str) -> None:
    seen = followed(valkey, "0", 2, lambda: publish(redis, ID, "status", {"status": "queued"}, keep_s=60))
    assert seen[0] is None
    assert seen[1] is not None and seen[1].kind == "status"


def test_a_stream_goes_after_its_time(redis: Redis) -> None:
    publish(redis, ID, "status", {"status": "queued"}, keep_s=60)
    assert 0 < redis.ttl(stream_key(ID)) <= 60  # type: ignore[operator]
