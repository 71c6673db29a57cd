"""The list of all generations, newest first: a copy in Redis of what storage holds.

| Redis key | type | what | lives |
|---|---|---|---|
| `radiata:generations` | sorted set | id by time of creation (of ending, when rebuilt from storage) | rebuilt |
| `radiata:generations:complete` | string | the set above holds all that storage does | as long as the set |
"""

from datetime import datetime
from typing import cast

from redis import Redis
from redis.client import Pipeline

from app.shared.errors import NotFound
from app.shared.storage import Storage

INDEX = "radiata:generations"
INDEX_COMPLETE = "radiata:generations:complete"


class GenerationIndex:
    """Ids of all generations in order of their time."""

    def __init__(self, storage: Storage, redis: Redis) -> None:
        self._storage = storage
        self._redis = redis

    def add(self, pipe: Pipeline, generation_id: str, created_at: datetime) -> None:
        """Take a new generation in, with the rest of what `pipe` does."""
        pipe.zadd(INDEX, {generation_id: created_at.timestamp()})

    def forget(self, generation_id: str) -> None:
        """Drop an id that storage does not know."""
        self._redis.zrem(INDEX, generation_id)

    def page(self, limit: int, before: str | None) -> tuple[list[str], bool]:
        """The newest `limit` ids older than `before`, and whether there are more; raises NotFound for no such id."""
        self._ensure()
        first = 0
        if before is not None:
            rank = cast(int | None, self._redis.zrevrank(INDEX, before))
            if rank is None:
                raise unknown()
            first = rank + 1
        found = cast(list[bytes], self._redis.zrevrange(INDEX, first, first + limit))  # one more than asked for
        return [member.decode() for member in found[:limit]], len(found) > limit

    def _ensure(self) -> None:
        if self._redis.exists(INDEX_COMPLETE):
            return
        # What is pending first: what ends meanwhile is then found among the ended
        for key, modified in self._storage.entries("pending"):
            self._redis.zadd(INDEX, {key.split("/")[1].removesuffix(".json"): modified.timestamp()}, nx=True)
        for key, modified in self._storage.entries("generations"):
            if key.endswith("/manifest.json"):
                self._redis.zadd(INDEX, {key.split("/")[1]: modified.timestamp()}, nx=True)
        self._redis.set(INDEX_COMPLETE, 1)


def unknown() -> NotFound:
    """What is said of an id that nobody has."""
    return NotFound("generation_unknown", "there is no such generation; ids come from POST /v1/generations")
