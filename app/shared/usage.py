"""What each job used, counted once: when it has ended, by its id, whatever becomes of it later.

How much a generation used stands in its end, and from there in the line that a segment has of it, which keeps it when
the generation is deleted (`app/shared/segments.py`). Of a training, which may be removed as well, there is a record of
its own. Nothing is ever added up in storage: each machine sums up what it reads in its own index
(`app/shared/usage_table.py`), which knows which jobs it has counted. So nobody who dies, or comes twice, counts a job
twice, and days of a million jobs are as quick to tell as others.

| Storage key | what | written by |
|---|---|---|
| `used/trainings/<id>.json` | what a training used, for ever | whoever ends it |
"""

import sqlite3
from collections.abc import Iterable
from datetime import date
from typing import Any

from app.shared.accepted import Accepted
from app.shared.errors import Deleted, Unreadable
from app.shared.following import Following, unusable
from app.shared.generation_keys import manifest_key
from app.shared.index_database import IndexDatabase, moment
from app.shared.owners import FIRST_SAID
from app.shared.rebuild import read_all
from app.shared.records import MANIFEST, USED
from app.shared.segments import Entry
from app.shared.storage import Storage
from app.shared.training_keys import USED_FOLDER, used_key
from app.shared.usage_table import TRAINING, Counted
from app.shared.wire.usage import Amounts, UsageDay, UsedByTraining


class Usage:
    """Tells what was used. Raises Unavailable."""

    def __init__(self, storage: Storage, following: Following) -> None:
        self._storage, self._following, self._segments = storage, following, following.segments

    def days(self, owner: str | None, since: date | None = None, until: date | None = None) -> list[UsageDay]:
        """The days of an owner, or of all (None), from one to another, in order; those without any job are left out."""
        try:
            return [_day(row) for row in self.index().usage(owner, since, until)]
        except sqlite3.Error as error:
            raise unusable(error) from error

    def index(self) -> IndexDatabase:
        """This machine's index, once all jobs are counted in it that have ended."""
        database = self._following.all(self._following.told())
        ended, early = sorted(self._segments.noted()), sorted(self._segments.early())
        database.count(_counted(read_all(self._ended, database.uncounted(ended))))
        database.count(_counted(read_all(self._segments.early_entry, database.uncounted(early))))
        trainings = [*USED.ids(self._storage, USED_FOLDER)]
        records = read_all(self._training, database.uncounted(trainings))
        database.count(Counted(one.id, 0, one.owner, one.used, kind=TRAINING) for one in records if one is not None)
        return database

    def kept(self) -> IndexDatabase:
        """The same, once what was deleted is taken out of what is stored."""
        database = self.index()
        database.forgotten(self._following.deleted())
        return database

    def _ended(self, generation_id: str) -> Entry | None:
        try:
            found: Accepted | None = MANIFEST.get(self._storage, manifest_key(generation_id))
        except Deleted:
            gone = self._following.gone(generation_id)
            return gone and Entry.of_deleted(gone)
        except Unreadable as error:  # it is counted once somebody has mended it, or newer code reads it
            self._following.tell_of(error)
            return None
        return found and Entry.of(found.generation)

    def _training(self, training_id: str) -> UsedByTraining | None:
        try:
            return USED.get(self._storage, used_key(training_id))
        except Unreadable as error:
            self._following.tell_of(error)
            return None


def total(days: Iterable[UsageDay]) -> Amounts:
    """The sum of days; of seconds to the millisecond, which each was counted in."""
    found = list(days)
    sums: dict[str, Any] = {name: sum(getattr(one, name) for one in found) for name in Amounts.model_fields}
    return Amounts(**sums | {"device_seconds": round(sums["device_seconds"], 3)})


def _counted(entries: Iterable[Entry | None]) -> list[Counted]:
    return [
        Counted(one.id, moment(one.id, one.created_at), one.owner, one.used, one.deleted_at is not None)
        for one in entries
        if one is not None and one.used is not None
    ]


def _day(row: dict[str, Any]) -> UsageDay:
    return UsageDay(
        day=row["day"],
        owner=row["owner"] or FIRST_SAID,
        generations=row["generations"],
        trainings=row["trainings"],
        device_seconds=row["device_ms"] / 1000,
        pictures=row["pictures"],
        trained_steps=row["steps"],
        size_bytes=row["size_bytes"],
    )
