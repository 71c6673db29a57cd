"""Files that come in parts, so that a connection that breaks, or a process that dies, costs the last part alone.

Every part is an object of its own, created under where it begins: of two that begin at the same place one is taken.
Nothing is known in one process that another would miss, so any of them goes on with any file.

| Storage key | what | until |
|---|---|---|
| `resumable/<id>.json` | a file that comes in parts: how large, whose, what is said of it | it is an upload; a day |
| `resumable/<id>/<offset>` | a part of it | the same |
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime

from app.shared.errors import BadRequest, Conflict, Newer, NotFound, Unavailable, Unreadable
from app.shared.job import ID
from app.shared.lifecycle import now
from app.shared.owners import Asker
from app.shared.records import RESUMABLE
from app.shared.storage import Storage
from app.shared.wire.resumable import KEPT, Resumable

KIND = "resumable"
MOST = 20  # of one owner at once
MOST_PARTS = 10_000  # that a file may come in: each is an object, and is listed with every request
PART = re.compile(r"resumable/([0-9a-f]{32})/([0-9]{15})")


def resumable_key(upload_id: str) -> str:
    """Where such a file is kept until it is whole."""
    return f"resumable/{upload_id}.json"


def part_key(upload_id: str, offset: int) -> str:
    """Where the part is kept that begins at a place."""
    return f"resumable/{upload_id}/{offset:015d}"


class Resumables:
    """Takes parts; asker: as whom files are looked for, nobody else's are there."""

    def __init__(self, storage: Storage, asker: Asker = None) -> None:
        self._storage, self._asker = storage, asker

    def begin(self, one: Resumable) -> None:
        """Take parts of a file from now on; raises Unavailable where its owner has too many that are not whole."""
        if sum(other.owner == one.owner for other in self.unfinished()) >= MOST:
            message = f"{MOST} files of yours have begun and are not whole; go on with one, or DELETE it"
            raise Unavailable("uploads_full", message)
        self._storage.create(resumable_key(one.id), RESUMABLE.write(one))

    def get(self, upload_id: str) -> Resumable:
        """A file that is not whole; raises NotFound and Unreadable."""
        found = RESUMABLE.get(self._storage, resumable_key(upload_id)) if ID.fullmatch(upload_id) else None
        if found is None or self._asker not in (None, found.owner):
            raise self.unknown()
        return found

    def unknown(self) -> NotFound:
        """The error for an id that nobody has."""
        return NotFound("upload_unknown", "there is no such upload; one that is not whole is kept for a day")

    def unfinished(self) -> Iterator[Resumable]:
        """Every file that is not an upload yet; those that cannot be read are left out."""
        for upload_id in RESUMABLE.ids(self._storage, KIND):
            with suppress(NotFound, Unreadable):
                yield self.get(upload_id)

    def parts(self, upload_id: str) -> list[int]:
        """Where each part begins, in order."""
        found = map(PART.fullmatch, self._storage.keys(f"resumable/{upload_id}"))
        return sorted(int(match[2]) for match in found if match)

    def offset(self, upload_id: str) -> int:
        """How many bytes are here: to the end of the last part, which begins where the one before ended."""
        parts = self.parts(upload_id)
        return parts[-1] + (self._storage.size(part_key(upload_id, parts[-1])) or 0) if parts else 0

    def goes_on_at(self, upload_id: str) -> int:
        """As `offset`, of a file of which a further part is sent; raises BadRequest where it has too many."""
        if len(self.parts(upload_id)) >= MOST_PARTS:
            message = f"this file came in {MOST_PARTS} parts and is not whole; DELETE it, and send it in larger ones"
            raise BadRequest("too_many_parts", message)
        return self.offset(upload_id)

    async def take(self, upload_id: str, offset: int, data: bytes) -> None:
        """Keep a part; raises Conflict where another begins there."""
        if not await self._storage.create_async(part_key(upload_id, offset), data):
            raise moved()

    def stream(self, one: Resumable) -> Iterator[bytes]:
        """The bytes of a file, but for parts that are gone."""
        for offset in self.parts(one.id):
            if found := self._storage.stream(part_key(one.id, offset)):
                yield from found[1]

    def forget(self, upload_id: str) -> None:
        """Delete a file with its parts: it is an upload by now, or nobody wants it."""
        self._storage.delete(resumable_key(upload_id))
        self._clear(part_key(upload_id, offset) for offset in self.parts(upload_id))

    def sweep(self) -> None:
        """Forget what began a day ago and is not whole, or cannot be read, and parts of what is forgotten."""
        written = dict(self._storage.entries(KIND))
        for key, when in written.items():
            if (match := RESUMABLE.keys.fullmatch(key)) and self._is_over(match[1], when):
                self.forget(match[1])
        known = set(RESUMABLE.ids(self._storage, KIND))  # after the parts were listed: none of a new file is deleted
        self._clear(key for key in written if (match := PART.fullmatch(key)) and match[1] not in known)

    def _is_over(self, upload_id: str, when: datetime) -> bool:
        """Whether a file whose record was written at a time comes to nothing."""
        try:
            one = self.get(upload_id)
        except NotFound:
            return False
        except Unreadable as error:
            return not isinstance(error, Newer) and now() - when > KEPT
        return now() > one.expires_at and self.offset(one.id) < one.size_bytes

    def _clear(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._storage.delete(key)


def moved() -> Conflict:
    """What is sent does not begin where the file ends."""
    return Conflict("offset_differs", "this file goes on at another offset; ask with HEAD where, and send from there")
