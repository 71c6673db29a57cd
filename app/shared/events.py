"""What happens to a generation, as a Redis stream that any number of listeners follow and resume.

Key `radiata:events:<generation id>`: stream; entries `{kind, data (JSON)}`; written by API and engine, read by the
event route; capped, and gone `keep_live_s` after the last entry. It can be lost: the end is in storage.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.client import Pipeline

MAX_ENTRIES = 4096


@dataclass(frozen=True)
class Event:
    """One entry: its stream id (resumable), kind (`status`, `progress`, `image`) and JSON-ready data."""

    id: str
    kind: str
    data: dict[str, Any]


def stream_key(generation_id: str) -> str:
    """The stream of a generation."""
    return f"radiata:events:{generation_id}"


def publish(redis: Redis | Pipeline, generation_id: str, kind: str, data: dict[str, Any], keep_s: int) -> None:
    """Append an event."""
    key = stream_key(generation_id)
    redis.xadd(key, {"kind": kind, "data": json.dumps(data)}, maxlen=MAX_ENTRIES, approximate=True)
    redis.expire(key, keep_s)


async def follow(redis: AsyncRedis, generation_id: str, after: str, wait_ms: int) -> AsyncIterator[Event | None]:
    """Events after stream id `after`, as they come; None whenever `wait_ms` pass without one."""
    while True:
        answer = await redis.xread({stream_key(generation_id): after}, count=100, block=wait_ms)
        if not answer:
            yield None
            continue
        for entry_id, fields in _entries(answer):
            after = entry_id.decode()
            yield Event(after, fields[b"kind"].decode(), json.loads(fields[b"data"]))


def _entries(answer: Any) -> list[Any]:
    # redis-py answers a mapping under RESP3 and a list of pairs under RESP2
    streams = answer.values() if isinstance(answer, dict) else [entries for _, entries in answer]
    flat = [entry for entries in streams for entry in entries]
    return flat[0] if flat and isinstance(flat[0], list) and not isinstance(flat[0], tuple) else flat
