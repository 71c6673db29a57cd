"""Generations make room for others: the oldest that have ended and have no star go, until there is enough.

How much is stored is summed up in this machine's index (`app/shared/usage.py`): nothing is listed for it but what ended
or was deleted lately. What has not ended is not in it, and needs nothing of what has: requests name pictures that were
sent, and are kept by themselves (`app/shared/disposal.py`). What a webhook is due for stays until that was told,
or given up. Whoever dies has deleted a part; the next one goes on.
"""

from collections.abc import Callable
from contextlib import suppress

import structlog

from app.shared.errors import Gone, NotFound, Unreadable
from app.shared.generations import Ledger
from app.shared.index_database import IndexDatabase
from app.shared.settings import Settings
from app.shared.stars import STAR, star_key
from app.shared.storage import Storage
from app.shared.usage import Usage
from app.shared.usage_table import Stored
from app.shared.webhooks import due_key

log = structlog.get_logger()

AT_ONCE = 200  # that are looked at together
MOST = 1000  # that are deleted in one turn


class MakingRoom:
    """Does it. Raises Unavailable and RedisError."""

    def __init__(self, storage: Storage, ledger: Ledger, settings: Settings) -> None:
        self._storage, self._ledger, self._settings = storage, ledger, settings
        self._usage = Usage(storage, ledger.following)
        self._starred = set[str]()  # of which storage says so too
        self._left = 0

    def run(self, look: Callable[[], None]) -> None:
        """Delete what is over the limits of owners, then over that of all; a part of it where it is very much."""
        all_may, each_may = self._settings.keep_bytes, self._settings.keep_bytes_per_owner
        if all_may is None and each_may is None:
            return
        self._left = MOST
        database = self._usage.kept()
        for owner, size in database.stored().items() if each_may is not None else ():
            self._make(database, owner, size - (each_may or 0), look)
        if all_may is not None:
            self._make(database, None, sum(database.stored().values()) - all_may, look)

    def _make(self, database: IndexDatabase, owner: str | None, over: int, look: Callable[[], None]) -> None:
        after: Stored | None = None
        while over > 0 and self._left > 0 and (some := database.oldest(owner, after, AT_ONCE)):
            after, starred = some[-1], self._ledger.stars.among([one.id for one in some])
            for one in some:
                if over <= 0 or self._left <= 0:
                    return
                look()
                if not (one.id in starred and self._has_star(one.id)) and self._goes(one):
                    database.forgotten([one.id])
                    over -= one.size_bytes
                    self._left -= 1

    def _has_star(self, generation_id: str) -> bool:
        """Whether it is a star, and not the decision that it goes, of somebody who died right after that."""
        if generation_id not in self._starred:
            if self._storage.get(star_key(generation_id)) != STAR:
                return False
            self._starred.add(generation_id)
        return True

    def _goes(self, one: Stored) -> bool:
        """Delete a generation, unless it has got a star or is to be told of; whether its pictures are gone."""
        if self._storage.exists(due_key(one.id)) or not self._ledger.stars.lets_go(one.id):
            return False
        try:
            with suppress(NotFound, Gone):
                self._ledger.delete(one.id)
        except Unreadable:  # for whoever asks for it to clear away
            return False
        log.info("generation_made_room", generation=one.id, owner=one.owner, bytes=one.size_bytes)
        return True
