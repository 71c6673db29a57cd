"""What is to go goes, a part of it once a minute, by one of the API processes.

That is: bytes that nothing needs (`app/shared/disposal.py`), generations that ended longer ago than RADIATA_KEEP_DAYS
says and have no star, those that make room (`app/outgoing/making_room.py`), and, of what was deleted, what is left.

| Redis key | type | what | kept for |
|---|---|---|---|
| `radiata:keeping` | string | storage was looked through for what is old | six hours |
"""

from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import structlog
from redis import Redis

from app.outgoing.making_room import MakingRoom
from app.shared.catalog_index import INDEX as ADAPTERS
from app.shared.collecting import Collecting
from app.shared.disposal import Disposal
from app.shared.errors import Gone, NotFound, Unreadable
from app.shared.generations import Ledger
from app.shared.lifecycle import now
from app.shared.records import MANIFEST
from app.shared.settings import Settings
from app.shared.storage import Storage

log = structlog.get_logger()

KIND = "keep"
TASK = "0" * 32  # there is one
EVERY_S = 60.0
LOOKED, LOOK_S = "radiata:keeping", 6 * 3600
MOST = 200  # generations that are deleted in one turn


class Keeping:
    """Does it; clock: the time now."""

    most = share = 1

    def __init__(self, storage: Storage, redis: Redis, settings: Settings, clock: Callable[[], datetime] = now) -> None:
        self._storage, self._redis, self._settings, self._clock = storage, redis, settings, clock
        self._ledger = Ledger(storage, redis, settings)
        self._disposal = Disposal(storage, clock)
        self._room = MakingRoom(storage, self._ledger, settings)
        self._old = deque[str]()  # ids that are to be looked at

    def owner(self, task_id: str) -> str:
        """Nobody's: it is of all."""
        return ""

    def pending(self) -> Iterable[str]:
        """There is always something."""
        return [TASK]

    def run(self, task_id: str, look: Callable[[], None]) -> float | None:
        """Have a part of it go; raises Unavailable and RedisError."""
        look()
        if any(key.startswith("adapters/") for key in self._disposal.run()):
            self._redis.delete(ADAPTERS)  # should it have lost what was deleted, nothing is accepted by it any more
        if self._redis.set(LOOKED, "1", nx=True, ex=LOOK_S):
            collecting = Collecting(self._storage, self._redis, self._settings, self._clock)
            collecting.forgotten(dry=False)
            collecting.removed(dry=False)
            self._old = deque(self._ended_long_ago())
        for _ in range(min(MOST, len(self._old))):
            look()
            self._let_go(self._old[0])
            self._old.popleft()  # not before: it may have been storage that failed
        self._room.run(look)
        return EVERY_S

    def _before(self) -> datetime | None:
        days = self._settings.keep_days
        return None if days is None else self._clock() - timedelta(days=days)

    def _ended_long_ago(self) -> list[str]:
        before = self._before()
        if before is None:
            return []
        ends = ((MANIFEST.keys.fullmatch(key), when) for key, when in self._storage.entries("generations"))
        return [match[1] for match, when in ends if match and when < before]

    def _let_go(self, generation_id: str) -> None:
        before = self._before()
        try:
            ended = self._ledger.latest(generation_id).generation
        except (NotFound, Gone, Unreadable):  # what cannot be read is for whoever asks for it to clear away
            return
        if before and ended.finished_at and ended.finished_at < before and self._ledger.stars.lets_go(generation_id):
            self._ledger.delete(generation_id)
            log.info("generation_forgotten", generation=generation_id, owner=ended.owner)
