"""An index of generations in a file of this machine, made of segments (`app/shared/segments.py`): SQLite, with FTS5.

It can be deleted at any time: storage has all of it. Several processes of one machine use one file; each machine has
its own. A generation's `place` orders it: the millisecond of its acceptance, then its id. Full-text search is of marks
(`app/shared/wanted.py`), so every filter is one look into an inverted index, read backwards from where a page begins.
"""

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from app.shared import usage_table
from app.shared.lifecycle import time_in
from app.shared.segments import Entry
from app.shared.usage_table import Counted, Stored
from app.shared.wanted import marks_of

VERSION = 2  # of the tables, and of what is a mark
BUSY_S = 30.0  # that another process writes
LIVE, ENDED, GONE = 0, 1, 2  # states: LIVE may have ended, and is in no segment that was read
BITS = 21  # of a place, below the milliseconds
Places = list[tuple[str, int]]  # ids, and where they stand, newest first
LAST = 2**63 - 1
TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS generations (
    place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, state INTEGER NOT NULL,
    created REAL NOT NULL, deleted REAL, segment TEXT
);
CREATE INDEX IF NOT EXISTS of_owner ON generations (owner, state);
CREATE VIRTUAL TABLE IF NOT EXISTS found USING fts5 (marks, detail = none, columnsize = 0, tokenize = 'ascii');
CREATE TABLE IF NOT EXISTS segments (name TEXT PRIMARY KEY) WITHOUT ROWID;
"""


class Known(NamedTuple):
    """What is known of a generation; created: seconds. segment: which has it."""

    state: int
    owner: str
    created: float
    segment: str | None


def moment(generation_id: str, otherwise: datetime) -> float:
    """When a generation was accepted, in seconds, to the millisecond: as its id says, or else as told."""
    told, seconds = otherwise.timestamp(), time_in(generation_id)
    # Clocks of two machines differ by less than a day: a later time is the hash of an idempotency key (version 0.1)
    return round(told if seconds is None or seconds > told + 86_400 else seconds, 3)


def place_of(generation_id: str, seconds: float) -> int:
    """Where a generation stands among all; in one millisecond in order of ids."""
    milliseconds = min(max(round(seconds * 1000), 0), LAST >> BITS)  # a filter may name any year
    fresh = f"{milliseconds:012x}"
    if generation_id.startswith(fresh):
        within = (1 << 19) + (int(generation_id[12:17], 16) >> 1)
    else:
        within = int(generation_id[:5], 16) >> 1
        within += (1 << 20) if generation_id > fresh else 0
    return (milliseconds << BITS) + within


def _opened(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False, isolation_level=None)
    file.executescript(TABLES + usage_table.TABLES)
    return file


class IndexDatabase:
    """The file. Raises sqlite3.Error for what it does not do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # hashes of a prompt's words can be guessed
        self._lock = threading.RLock()
        try:
            self._file = _opened(path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:  # it is only a copy
            for one in path.parent.glob(f"{path.name}*"):
                one.unlink(missing_ok=True)
            self._file = _opened(path)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield self._file
                self._file.execute("COMMIT")
            except BaseException:
                self._file.execute("ROLLBACK")
                raise

    def _ask(self, text: str, *arguments: str | float | None) -> list[Any]:
        with self._lock:
            return self._file.execute(text, arguments).fetchall()

    # Filling it

    def segments(self) -> set[str]:
        """Names of the segments that are in it."""
        return {name for (name,) in self._ask("SELECT name FROM segments")}

    def take(self, entries: Iterable[Entry], segment: str | None = None) -> None:
        """Take in what a segment says; without one, generations that may not have ended."""
        with self._writing() as file:
            for entry in entries:
                self._take(file, entry, segment)
            if segment is not None:
                file.execute("INSERT OR IGNORE INTO segments VALUES (?)", (segment,))

    def _take(self, file: sqlite3.Connection, entry: Entry, segment: str | None) -> None:
        created = moment(entry.id, entry.created_at)
        if entry.used is not None:
            gone = entry.deleted_at is not None
            usage_table.count(file, Counted(entry.id, created, entry.owner, entry.used, gone))
        deleted = None if entry.deleted_at is None else entry.deleted_at.timestamp()
        found = file.execute(
            "SELECT place, state, created, deleted FROM generations WHERE id = ?", (entry.id,)
        ).fetchone()
        if found is not None:
            place, state, since, gone = found
            if deleted is None and (gone is not None and gone >= created):
                return  # deleted since
            if deleted is not None and since > deleted:
                return  # the same idempotency key, used again
            if segment is None and state == ENDED:
                return
            file.execute("DELETE FROM found WHERE rowid = ?", (place,))
            file.execute("DELETE FROM generations WHERE place = ?", (place,))
        place = place_of(entry.id, created)
        while file.execute("SELECT 1 FROM generations WHERE place = ?", (place,)).fetchone():
            place += 1
        state = GONE if deleted is not None else LIVE if segment is None else ENDED
        file.execute(
            "INSERT INTO generations VALUES (?, ?, ?, ?, ?, ?, ?)",
            (place, entry.id, entry.owner, state, created, deleted, segment),
        )
        if deleted is None:
            file.execute("INSERT INTO found (rowid, marks) VALUES (?, ?)", (place, " ".join({*marks_of(entry)})))

    def without(self, segments: Iterable[str]) -> None:
        """Forget that segments were read, which are no more."""
        with self._writing() as file:
            file.executemany("DELETE FROM segments WHERE name = ?", [(one,) for one in segments])

    def drop(self, generation_id: str) -> None:
        """Forget one that no segment has."""
        with self._writing() as file:
            asked = "SELECT place FROM generations WHERE id = ? AND state = ?"
            for (place,) in file.execute(asked, (generation_id, LIVE)).fetchall():
                file.execute("DELETE FROM found WHERE rowid = ?", (place,))
                file.execute("DELETE FROM generations WHERE place = ?", (place,))

    # What was used

    def count(self, jobs: Iterable[Counted]) -> None:
        """Count what jobs used, each once."""
        with self._writing() as file:
            for one in jobs:
                usage_table.count(file, one)

    def uncounted(self, ids: Iterable[str]) -> list[str]:
        """Those of these jobs that were not counted yet."""
        return [one for (one,) in self._ask(usage_table.UNCOUNTED, json.dumps([*ids]))]

    def usage(self, owner: str | None, since: date | None = None, until: date | None = None) -> list[dict[str, Any]]:
        """What was used, by owner and day, in order of days; owner: None for everybody."""
        days = [one and one.isoformat() for one in (since, until)]
        return usage_table.rows_of(self._ask(usage_table.DAYS, owner, *days))

    def forgotten(self, ids: Iterable[str]) -> None:
        """Take what these generations have stored out of what is kept: they were deleted."""
        with self._writing() as file:
            usage_table.forget_all(file, ids)

    def stored(self) -> dict[str, int]:
        """Bytes of all pictures that each owner's generations have in storage, which have ended."""
        return dict(self._ask(usage_table.STORED))

    def oldest(self, owner: str | None, after: Stored | None, limit: int) -> list[Stored]:
        """The oldest of these generations, of an owner or of all (None), from one on."""
        since = (after.created, after.id) if after else (0, "")
        return [Stored(*one) for one in self._ask(usage_table.OLDEST, owner, *since, limit)]

    # Asking it

    def of(self, ids: Iterable[str]) -> dict[str, Known]:
        """What is known of those of these generations that are in it."""
        asked = (
            "SELECT id, state, owner, created, segment FROM generations WHERE id IN (SELECT value FROM json_each(?))"
        )
        return {one: Known(*rest) for one, *rest in self._ask(asked, json.dumps([*ids]))}

    def place(self, generation_id: str, owner: str) -> int | None:
        """Where a generation of an owner stands, also one that was deleted."""
        found = self._ask("SELECT place FROM generations WHERE id = ? AND owner = ?", generation_id, owner)
        return found[0][0] if found else None

    def ended(self, owner: str, before: int, limit: int) -> Places:
        """The newest of an owner that segments have, before a place."""
        asked = (
            "SELECT id, place FROM generations WHERE owner = ? AND state = ? AND place < ? ORDER BY place DESC LIMIT ?"
        )
        return self._ask(asked, owner, ENDED, before, limit)

    def marked(self, marks: Sequence[Sequence[str]], since: int, before: int, limit: int) -> Places:
        """The newest that have, of each of these lists, one mark; from one place on, before another."""
        match = " AND ".join(f"({' OR '.join(some)})" for some in marks)
        asked = (
            "SELECT id, place FROM found JOIN generations ON place = found.rowid "
            "WHERE found MATCH ? AND found.rowid >= ? AND found.rowid < ? ORDER BY found.rowid DESC LIMIT ?"
        )
        return self._ask(asked, match, since, before, limit)

    def among(self, ids: Iterable[str], marks: Sequence[Sequence[str]], since: int, before: int, limit: int) -> Places:
        """The same of a few generations."""
        asked = (
            "SELECT id, place FROM generations WHERE id IN (SELECT value FROM json_each(?)) "
            "AND place >= ? AND place < ? ORDER BY place DESC"
        )
        found: Places = []
        for one, place in self._ask(asked, json.dumps([*ids]), since, before):
            has = {
                mark for (said,) in self._ask("SELECT marks FROM found WHERE rowid = ?", place) for mark in said.split()
            }
            if all(has & set(some) for some in marks):
                found.append((one, place))
            if len(found) == limit:
                break
        return found
