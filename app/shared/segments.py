"""What every index of generations is made of: ends, gathered into segments of many lines.

| Storage key | what | written by |
|---|---|---|
| `unindexed/ended/<id>` | this generation has ended, and is in no segment yet | whoever ends it |
| `unindexed/deleted/<id>` | it was deleted before a segment had it: what it used | whoever deletes it |
| `index/<day>-<n>.jsonl` | lines, one a generation: what a list is filtered by, or that it was deleted | api |
| `unindexed/adopted` | what had ended before there were segments is in some | api |

A generation is accepted while `pending/<id>.json` is there, has ended and is unindexed, or is in a segment: a step
towards the next is made before the one before is undone, so it is always in one of them at least, and nobody ever has
to list what has ended. Lines may come twice, and in any order: a deletion counts for all that was accepted before it.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Self

from pydantic import Field, ValidationError

from app.shared.accepted import JobTombstone
from app.shared.job import ID
from app.shared.storage import Storage
from app.shared.wire.generation import Generation, Status
from app.shared.wire.usage import Used
from app.shared.wire.values import Wire

SEGMENTS, ENDED, EARLY = "index", "unindexed/ended", "unindexed/deleted"
ADOPTED = "unindexed/adopted"
LINES = 1000  # of a segment, at most
NAME = re.compile(r"(\d{4}-\d\d-\d\d)-(\d{1,9})\.jsonl")


def ended_key(generation_id: str) -> str:
    """What says that a generation has ended, until a segment does."""
    return f"{ENDED}/{generation_id}"


def newest_first(names: Iterable[str]) -> list[str]:
    """Names of segments, those that were written last before others."""

    def order(name: str) -> tuple[str, int]:
        match = NAME.fullmatch(name)
        return (match[1], int(match[2])) if match else ("", 0)

    return sorted(names, key=order, reverse=True)


def early_key(generation_id: str) -> str:
    """What is left of a generation that was deleted before a segment had it."""
    return f"{EARLY}/{generation_id}"


class Entry(Wire):
    """What a list is filtered by, and what was used; of one that was deleted only that, whose it was, and when.

    status: None where it is not known to have ended.
    """

    id: str
    owner: str = ""
    created_at: datetime
    deleted_at: datetime | None = None
    status: Status | None = None
    model: str = ""
    adapters: list[str] = Field(default=[])
    prompt: str = ""
    seed: int = 0
    metadata: dict[str, str] = Field(default={})
    used: Used | None = None

    @classmethod
    def of(cls, generation: Generation) -> Self:
        """The entry of a generation."""
        request = generation.request
        names = ((one.name, f"{one.name}:{one.version}", f"sha256:{one.sha256}") for one in request.adapters)
        return cls(
            id=generation.id,
            owner=generation.owner,
            created_at=generation.created_at,
            status=generation.status if generation.status.ended else None,
            model=request.model,
            adapters=sorted({name for some in names for name in some}),
            prompt=request.prompt,
            seed=request.seed,
            metadata=generation.metadata,
            used=used_by(generation),
        )

    @classmethod
    def of_deleted(cls, one: JobTombstone) -> Self:
        """The entry of a generation of which nothing else is left."""
        return cls(id=one.id, owner=one.owner, created_at=one.created_at, deleted_at=one.deleted_at, used=one.used)

    def deleted(self, when: datetime) -> Self:
        """The same once it is deleted: nothing of what was asked for."""
        return type(self)(id=self.id, owner=self.owner, created_at=self.created_at, deleted_at=when, used=self.used)


def used_by(generation: Generation) -> Used | None:
    """What a generation used, once it has ended; an old one that has drawn, by its timings."""
    if not generation.status.ended or generation.finished_at is None:
        return None
    timings = generation.timings_ms
    drawing = timings.swap + timings.sample if timings else 0
    return Used(
        day=generation.finished_at.astimezone(UTC).date(),
        device_ms=round(generation.device_seconds * 1000 or drawing),
        pictures=len(generation.images),
        size_bytes=sum(one.size_bytes for one in generation.images),
    )


class Segments:
    """Writes and reads what is gathered, and what is not yet."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    # Not gathered yet

    def ended(self, generation_id: str) -> None:
        """Note that a generation has ended, before its pending record goes."""
        self._storage.put(ended_key(generation_id), b"1")

    def noted(self) -> set[str]:
        """Ids of all that have ended and may be in no segment yet."""
        ids = (key.rpartition("/")[2] for key in self._storage.keys(ENDED))
        return {one for one in ids if ID.fullmatch(one)}

    def taken(self, ids: Iterable[str]) -> None:
        """Forget that these were noted: segments have them."""
        for one in ids:
            self._storage.delete(ended_key(one))

    def deleted_early(self, entry: Entry) -> None:
        """Note what is left of one that is deleted, before its other notes go, unless a segment has it."""
        self._storage.put(early_key(entry.id), _line(entry))

    def early(self) -> dict[str, datetime]:
        """Ids of all such, and when each was deleted."""
        found = ((key.rpartition("/")[2], when) for key, when in self._storage.entries(EARLY))
        return {one: when for one, when in found if ID.fullmatch(one)}

    def early_entry(self, generation_id: str) -> Entry | None:
        """What is left of one; None where it is gone, and a segment has it."""
        return next(entries_of(self._storage.get(early_key(generation_id)) or b""), None)

    def early_taken(self, ids: Iterable[str]) -> None:
        """Forget what was left of these: segments have it."""
        for one in ids:
            self._storage.delete(early_key(one))

    # Gathered

    def written(self) -> dict[str, datetime]:
        """Names of all segments, and when each was written."""
        entries = ((key.rpartition("/")[2], when) for key, when in self._storage.entries(SEGMENTS))
        return {name: when for name, when in entries if NAME.fullmatch(name)}

    def write(self, day: str, entries: Iterable[Entry]) -> str:
        """Write a segment; its name."""
        text = b"".join(map(_line, entries))
        of_day = (match[2] for match in map(NAME.fullmatch, self.written()) if match and match[1] == day)
        number = 1 + max(map(int, of_day), default=0)
        while not self._storage.create(f"{SEGMENTS}/{day}-{number}.jsonl", text):
            number += 1  # another has written just now
        return f"{day}-{number}.jsonl"

    def read(self, name: str) -> list[Entry] | None:
        """The entries of a segment that can be read; None where it is gone, and others have its lines."""
        text = self.text(name)
        return None if text is None else list(entries_of(text))

    def text(self, name: str) -> bytes | None:
        """A segment as it is written; None where it is gone, and others have its lines."""
        return self._storage.get(f"{SEGMENTS}/{name}")

    def delete(self, name: str) -> None:
        """Delete a segment whose lines are in another."""
        self._storage.delete(f"{SEGMENTS}/{name}")

    @property
    def adopted(self) -> bool:
        """Whether all that had ended before there were segments is in some."""
        return self._storage.exists(ADOPTED)

    def adopt(self) -> None:
        """Note that it is."""
        self._storage.put(ADOPTED, b"1")


def _line(entry: Entry) -> bytes:
    return entry.model_dump_json(exclude_defaults=True).encode() + b"\n"


def entries_of(text: bytes) -> Iterator[Entry]:
    """The lines of a segment that can be read."""
    for line in text.splitlines():
        try:
            entry = Entry.model_validate_json(line)
        except ValidationError:  # one that is wrong, or of newer code: it is found again when all are looked for
            continue
        if ID.fullmatch(entry.id):
            yield entry
