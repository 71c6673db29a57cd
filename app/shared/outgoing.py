"""What is to be asked of other hosts, and when: which of it is due, and who of several processes does it.

What there is to do stands in storage; here is only when it is due, so an emptied Redis loses nothing: whoever does it
looks into storage every now and then, and whatever is missing here is due at once.

| Redis key | type | what | kept for |
|---|---|---|---|
| `radiata:outgoing` | sorted set | `<kind>:<id>` by the time in seconds when it is due | until it is done |
| `radiata:outgoing:<kind>:<id>` | string | held by the process that does it | `HELD_S`, renewed |
"""

import time
from collections.abc import Callable, Iterable
from typing import cast

from redis import Redis

DUE = "radiata:outgoing"
HELD_S = 20  # after the last sign of life


class Outgoing:
    """When each task is due, and who does it; clock: the time in seconds, the same for every process."""

    def __init__(self, redis: Redis, clock: Callable[[], float] = time.time) -> None:
        self._redis, self.clock = redis, clock

    def put(self, task: str, after_s: float = 0.0) -> None:
        """Have a task done after so many seconds."""
        self._redis.zadd(DUE, {task: self.clock() + after_s})

    def restore(self, tasks: Iterable[str]) -> None:
        """Have those of these tasks done at once of which nothing is known."""
        if missing := dict.fromkeys(tasks, self.clock()):
            self._redis.zadd(DUE, missing, nx=True)

    def waiting(self) -> int:
        """How many tasks there are."""
        return self._redis.zcard(DUE)

    def due_at(self, task: str) -> float | None:
        """When a task is due, or None."""
        return self._redis.zscore(DUE, task)

    def due(self, most: int) -> list[str]:
        """Tasks whose time has come, the one first that is due for longest."""
        found = cast(list[bytes], self._redis.zrangebyscore(DUE, "-inf", self.clock(), start=0, num=most))
        if strange := [one for one in found if not one.isascii()]:
            self._redis.zrem(DUE, *strange)  # Redis is data too
        return [one.decode() for one in found if one.isascii()]

    def take(self, task: str, who: str) -> bool:
        """Whether nobody else does a task; it is the caller's for `HELD_S`, and while it is kept."""
        return bool(self._redis.set(f"{DUE}:{task}", who, nx=True, ex=HELD_S))

    def keep(self, task: str) -> None:
        """Say that it is being done."""
        self._redis.expire(f"{DUE}:{task}", HELD_S)

    def done(self, task: str, again_s: float | None) -> None:
        """Give a task back: to be done again after so many seconds, or never."""
        with self._redis.pipeline() as pipe:
            if again_s is None:
                pipe.zrem(DUE, task)
            else:
                pipe.zadd(DUE, {task: self.clock() + again_s})
            pipe.delete(f"{DUE}:{task}")
            pipe.execute()
