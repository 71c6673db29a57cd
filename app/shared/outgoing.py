"""What is to be asked of other hosts, and when: which of it is due, and who of several processes does it.

What there is to do stands in storage; here is only when it is due, so an emptied Redis loses nothing: whoever does it
looks into storage every now and then, and whatever is missing here is due at once.

| Redis key | type | what | kept for |
|---|---|---|---|
| `radiata:outgoing:<kind>` | sorted set | `<kind>:<id>` by the time in seconds when it is due | until it is done |
| `radiata:outgoing:<kind>:<id>` | string | which process does it | `HELD_S`, renewed |
| `radiata:outgoing:looked` | string | that a process has looked into storage | for less than a minute |

A task that is being done is due once its process could be dead, so that what is due is never behind what is being done.
"""

import time
from collections.abc import Callable, Iterable
from typing import cast

from redis import Redis

from app.shared.job import ID

PREFIX = "radiata:outgoing"
LOOKED = f"{PREFIX}:looked"
HELD_S = 20  # after the last sign of life

# Both: whether the task is the caller's. KEYS: held, due; ARGV: who, the task
_MINE = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end "
_KEEP = _MINE + "redis.call('EXPIRE', KEYS[1], ARGV[3]); redis.call('ZADD', KEYS[2], 'XX', ARGV[4], ARGV[2]); return 1"
_DONE = (
    _MINE + "redis.call('DEL', KEYS[1]); if ARGV[3] == '' then redis.call('ZREM', KEYS[2], ARGV[2]) "
    "else redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2]) end; return 1"
)


def due_key(task: str) -> str:
    """Redis key of when the tasks of one kind are due; task: one of them, or the kind."""
    return f"{PREFIX}:{task.partition(':')[0]}"


def held_key(task: str) -> str:
    """Redis key of who does a task."""
    return f"{PREFIX}:{task}"


class Outgoing:
    """When each task is due, and who does it; clock: the time in seconds, the same for every process."""

    def __init__(self, redis: Redis, clock: Callable[[], float] = time.time) -> None:
        self._redis, self.clock = redis, clock

    def put(self, task: str, after_s: float = 0.0) -> None:
        """Have a task done after so many seconds."""
        self._redis.zadd(due_key(task), {task: self.clock() + after_s})

    def restore(self, tasks: Iterable[str]) -> None:
        """Have those of these tasks done at once of which nothing is known."""
        by_kind: dict[str, dict[str, float]] = {}
        for task in tasks:
            by_kind.setdefault(due_key(task), {})[task] = self.clock()
        for key, missing in by_kind.items():
            self._redis.zadd(key, missing, nx=True)

    def looks(self, seconds: int) -> bool:
        """Whether no process has looked into storage for so long: the caller does, and no other for so long."""
        return bool(self._redis.set(LOOKED, "1", nx=True, ex=seconds))

    def due(self, kind: str, most: int, after: int = 0) -> list[str]:
        """Ids of tasks of a kind whose time has come, first what is due for longest; what is no task is removed.

        after: how many of them are passed over.
        """
        found = cast(list[bytes], self._redis.zrangebyscore(due_key(kind), "-inf", self.clock(), start=after, num=most))
        ids = {one: one.decode(errors="replace").removeprefix(f"{kind}:") for one in found}
        if strange := [one for one, task_id in ids.items() if not ID.fullmatch(task_id)]:
            self._redis.zrem(due_key(kind), *strange)  # Redis is data too
        return [task_id for one, task_id in ids.items() if one not in strange]

    def take(self, task: str, who: str) -> bool:
        """Whether nobody else does a task; it is the caller's for `HELD_S`, and while it is kept."""
        taken = bool(self._redis.set(held_key(task), who, nx=True, ex=HELD_S))
        # Else another process holds it, and it is due where Redis has forgotten that
        self._redis.zadd(due_key(task), {task: self.clock() + HELD_S}, xx=True)
        return taken

    def keep(self, task: str, who: str) -> bool:
        """Say that it is being done; whether it is still the caller's."""
        until = self.clock() + HELD_S
        return bool(self._redis.eval(_KEEP, 2, held_key(task), due_key(task), who, task, HELD_S, until))

    def done(self, task: str, who: str, again_s: float | None) -> None:
        """Give a task back, if it is still the caller's: to be done again after so many seconds, or never."""
        when = "" if again_s is None else self.clock() + again_s
        self._redis.eval(_DONE, 2, held_key(task), due_key(task), who, task, when)
