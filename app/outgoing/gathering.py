"""Ends gathered into segments, and deletions taken out of them: once a minute, by one of the API processes.

Killed anywhere, it has written a segment too many, whose lines come again. What is noted is taken away last.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import timedelta

from app.shared.errors import Unreadable
from app.shared.generations import Ledger
from app.shared.index_database import ENDED, LIVE
from app.shared.lifecycle import now
from app.shared.rebuild import read_all
from app.shared.segments import LINES, Entry

KIND = "index"
TASK = "0" * 32  # there is one
EVERY_S = 60.0
EARLY = timedelta(days=1)  # that what was deleted before a segment had it waits for one
ADOPT_S = 24 * 3600  # between two looks at all, for what has ended and was never noted, and for lines that came twice


class Gathering:
    """Writes segments."""

    most = share = 1

    def __init__(self, ledger: Ledger, lines: int = LINES, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger, self._lines, self._clock = ledger, lines, clock
        self._following = ledger.following
        self._adopted = float("-inf")

    def owner(self, task_id: str) -> str:
        """Nobody's: it is of all."""
        return ""

    def pending(self) -> Iterable[str]:
        """There is always something."""
        return [TASK]

    def run(self, task_id: str, look: Callable[[], None]) -> float | None:
        """Gather what is noted, if it is enough, and take out what was deleted; raises RedisError and Unavailable."""
        self._following.all("")
        waiting = self._following.pending()
        ended = sorted(self._following.segments.noted() - waiting)
        for at in range(0, len(ended) - self._lines + 1, self._lines):
            look()
            self._gather(ended[at : at + self._lines])
        self._gather_early()
        deleted = self._following.deleted()
        self._forget(deleted, look)
        if self._clock() - self._adopted > ADOPT_S:
            self._following.adopt()
            self._forget_doubles(deleted, look)
            self._adopted = self._clock()
        return EVERY_S

    def _gather(self, ids: list[str]) -> None:
        entries, done = [], []
        for one, (entry, known) in zip(ids, read_all(self._entry, ids), strict=True):
            if known:
                done.append(one)
            if entry is not None:
                entries.append(entry)
        if entries:
            self._following.write(entries)
        self._following.segments.taken(done)
        self._ledger.index.gathered({one.id: one.owner for one in entries})

    def _entry(self, generation_id: str) -> tuple[Entry | None, bool]:
        """What a segment is to say of an end, if anything, and whether that is known."""
        try:
            generation = self._ledger.end(generation_id)
            gone = self._following.gone(generation_id) if generation is None else None
        except Unreadable as error:  # newer code can read it, or somebody mends it
            self._following.tell_of(error)
            return None, False
        if gone is not None:
            return Entry.of_deleted(gone), True
        return (None if generation is None else Entry.of(generation)), True

    def _gather_early(self) -> None:
        """Have segments say of what was deleted before they had it what it used: once a day, so that they are few."""
        found = self._following.segments.early()
        if not found or (len(found) < self._lines and now() - min(found.values()) < EARLY):
            return
        ids = sorted(found)[: self._lines]
        if entries := [one for one in read_all(self._following.segments.early_entry, ids) if one is not None]:
            self._following.write(entries)
        self._following.segments.early_taken(ids)

    def _forget(self, ids: set[str], look: Callable[[], None]) -> None:
        """Have no segment say anything of these but that they were deleted."""
        by_segment = defaultdict[str, set[str]](set)
        for one, said in self._following.database.of(ids).items():
            if said.state == ENDED and said.segment is not None and self._was_deleted(one):
                by_segment[said.segment].add(one)
            elif said.state == LIVE:
                self._following.database.drop(one)
        for segment, some in by_segment.items():
            look()
            self._following.rewrite(segment, some)

    def _forget_doubles(self, ids: set[str], look: Callable[[], None]) -> None:
        """Do the same with lines that came twice, as after a death: the file knows one segment of each generation."""
        for segment in self._following.segments.written() if ids else ():
            look()
            entries = self._following.segments.read(segment) or ()
            said = {one.id for one in entries if one.deleted_at is None and one.id in ids}
            if some := {one for one in said if self._was_deleted(one)}:
                self._following.rewrite(segment, some)

    def _was_deleted(self, generation_id: str) -> bool:
        """Whether its end says so: what is noted may be of one that had the same Idempotency-Key long before."""
        try:
            return self._ledger.end(generation_id) is None
        except Unreadable:
            return False
