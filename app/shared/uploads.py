"""Uploads: files between the request that brought them and the catalog or the pictures, judged by the intake worker.

They live as every job does (`app/shared/lifecycle.py`). An upload that waits is `uploads/<id>.json`, which is written
after its bytes and makes it count. Its end, `settled/<id>.json`, is kept for an hour. Creating `uploads/<id>.end`
decides between its name, its cancel and its being given up, when two of them are about to be.

| Redis key | type | what | kept for |
|---|---|---|---|
| `radiata:upload:<id>` | string | how the upload ended, as JSON; written by intake and API | an hour |
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import ResponseError

from app.shared.errors import Newer, NoRoom, NotFound, Unreadable
from app.shared.job_records import Places
from app.shared.lifecycle import Lifecycle
from app.shared.lost import look
from app.shared.owners import Asker
from app.shared.queue import INTAKE
from app.shared.records import SETTLED, UPLOAD
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.upload import Upload, UploadStatus

KEEP_SETTLED_S = 3600
DATASET_SHARE = 16 << 20  # bytes; about a hundred pictures of a megapixel, of which each takes half a second
ORPHANED_AFTER = timedelta(hours=1)
DIED = {  # of each kind: what is said of a file that nobody could judge
    "adapter": "inspecting this file used up its time or memory, or crashed; it is not an adapter that can be used",
    "picture": "decoding this picture used up its time or memory, or crashed; it is not a picture that can be used",
    "mask": "decoding this mask used up its time or memory, or crashed; it is not a picture that can be used",
    "dataset": "reading this dataset used up its time or memory, or crashed; send fewer pictures, or smaller ones",
    "recipe": "reading this picture used up its time or memory, or crashed; nothing can be read out of it",
    "map": "making this map used up its time or memory, or crashed; ask for a smaller one",
}
NAMED, CANCELED, GIVEN_UP = b"named", b"canceled", b"given up"  # what `end_key` can say


def bytes_key(upload_id: str) -> str:
    """Where the bytes of an upload wait."""
    return f"uploads/{upload_id}.safetensors"


def record_key(upload_id: str) -> str:
    """Where the facts of an upload wait."""
    return f"uploads/{upload_id}.json"


def end_key(upload_id: str) -> str:
    """Where it is decided what an upload comes to, before that is done; whoever creates it decides."""
    return f"uploads/{upload_id}.end"


def settled_key(upload_id: str) -> str:
    """Where the end of an upload is kept, for an hour."""
    return f"settled/{upload_id}.json"


def copy_key(upload_id: str) -> str:
    """Redis key of a copy of that end."""
    return f"radiata:upload:{upload_id}"


PLACES = Places("uploads", "uploads", UPLOAD, record_key, SETTLED, settled_key)


def timeout_s(upload: Upload, settings: Settings) -> int:
    """Return how many seconds an inspection may take; a dataset is many pictures, and has them for each share of it."""
    shares = 1 + upload.size_bytes // DATASET_SHARE if upload.kind == "dataset" else 1
    return shares * settings.inspect_timeout_s


class Uploads(Lifecycle[Upload]):
    """Stages uploads, follows them, and ends each one exactly once."""

    def __init__(self, storage: Storage, redis: Redis, settings: Settings, asker: Asker = None) -> None:
        super().__init__(storage, redis, settings, PLACES, asker)

    def stage(self, upload: Upload, file: Path | bytes) -> None:
        """Put an upload in storage and queue its inspection."""
        self._storage.put(bytes_key(upload.id), file)
        self.begin(upload)
        self.queue(upload)

    async def stage_async(self, upload: Upload, file: Path | bytes) -> None:
        """As `stage`, and hold no thread of the caller's while storage takes its time."""
        await self._storage.put_async(bytes_key(upload.id), file)
        await self._storage.create_async(record_key(upload.id), UPLOAD.write(upload))
        await asyncio.to_thread(self.queue, upload)

    def stage_placed(self, upload: Upload) -> None:
        """As `stage`, of bytes that are in storage already."""
        self.begin(upload)
        self.queue(upload)

    def get(self, upload_id: str) -> Upload:
        """An upload as it stands; raises Unreadable, or NotFound when it never was or ended over an hour ago."""
        return self.known(upload_id)

    def waiting(self, upload_id: str) -> Upload | None:
        """The record of an upload that has not ended, or None; raises Unreadable."""
        return self.records.pending(upload_id)

    def to_be_named(self, upload_id: str) -> bool:
        """Whether it gets its name; asked right before. From then on nobody can cancel it; asked again, it says so."""
        return self._decides(upload_id, NAMED)

    def settle(self, upload: Upload) -> Upload:
        """End an upload as its status says; the end that came first stands, and is returned."""
        return upload if self.conclude(upload) else self.latest(upload.id)

    def refuse(self, upload: Upload, code: str, message: str, reasons: list[dict[str, object]] | None = None) -> None:
        """End an upload as refused."""
        facts = {"status": UploadStatus.REFUSED, "code": code, "message": message, "reasons": reasons or []}
        self.conclude(upload.model_copy(update=facts))

    def refuse_dead(self, upload_id: str) -> None:
        """Refuse an upload whose inspection died or ran out of time or memory on every try."""
        if upload := self.waiting(upload_id):
            self.refuse(upload, "inspection_died", DIED[upload.kind])
        self.queues.drop(upload_id)

    def cancel(self, upload_id: str) -> Upload:
        """Cancel an upload that has no name yet; raises NotFound, Unreadable, and Conflict when it comes too late."""
        return self.withdraw(upload_id)

    def canceled(self, upload: Upload) -> Upload:
        """End an upload as canceled; as it stands then."""
        return self.settle(self.as_canceled(upload))

    def _decides(self, upload_id: str, how: bytes) -> bool:
        try:
            mine = self._storage.create(end_key(upload_id), how) or self._storage.get(end_key(upload_id)) == how
        except NoRoom:  # nor is there any for its name, and whatever else becomes of it makes room
            if how == NAMED:
                raise
            return True
        if self.waiting(upload_id) is None:  # it has ended: what was just created came too late
            self._storage.delete(end_key(upload_id))
            return False
        return mine

    # What the life cycle asks

    def enqueue(self, record: Upload) -> None:
        """Queue the inspection."""
        self.queues.enqueue_inspection(record.id, timeout_s(record, self._settings), record.owner)

    def clear(self, record: Upload) -> None:
        """Delete the bytes."""
        self._storage.delete(bytes_key(record.id))

    def _close(self, record: Upload, text: bytes) -> None:
        super()._close(record, text)
        # The decision goes last: where it is gone, the record is too, and nothing can be decided anew
        self._storage.delete(end_key(record.id))

    def create_end(self, job_id: str, text: bytes) -> bool:
        """Create the record of the end; where storage has no room for it, Redis alone keeps it."""
        try:
            return super().create_end(job_id, text)
        except NoRoom:  # what is refused or canceled must make room
            return True

    def give_up(self, record: Upload) -> None:
        """Refuse it; what was decided otherwise before (its name, its cancel) is done to the end."""
        if self._decides(record.id, GIVEN_UP):
            self.refuse_dead(record.id)
            return
        self.queues.drop(record.id)
        if self._storage.get(end_key(record.id)) == CANCELED:  # who canceled it died before saying so
            self.canceled(record)
            return
        if self.waiting(record.id):
            self.queue(record)

    def may_cancel(self, record: Upload) -> bool:
        """Whether it is not being given its name, and never will be."""
        return self._decides(record.id, CANCELED)

    def as_canceled(self, record: Upload) -> Upload:
        """The record of a canceled upload."""
        return record.model_copy(update={"status": UploadStatus.CANCELED})

    def too_late(self, record: Upload) -> str:
        """Say what became of it, or is about to."""
        if not record.status.ended:
            return f"this upload gets its name just now; `DELETE /v1/adapters/{record.name}`"
        return f"this upload was {record.status}; there is nothing to cancel"

    def unknown(self) -> NotFound:
        """No such upload."""
        return NotFound("upload_unknown", "there is no such upload, or it settled more than an hour ago")

    def within(self, live: Mapping[str, str], job_id: str) -> Upload:
        """As the life cycle reads it; where storage had no room for its end, that may have come to Redis meanwhile."""
        try:
            return super().within(live, job_id)
        except NotFound:
            return super().within(self.live(job_id), job_id)

    def read_live(self, job_id: str) -> dict[str, str]:
        """The copy of its end, if Redis has one; raises RedisError."""
        text = None
        with suppress(ResponseError):
            text = cast(bytes | None, self._redis.get(copy_key(job_id)))
        return {} if text is None else {"final": text.decode(errors="replace")}

    def remember(self, pipe: Pipeline, record: Upload) -> None:
        """Nothing: Redis has no copy of one that waits."""

    def remember_end(self, pipe: Pipeline, record: Upload, text: bytes) -> None:
        """Write the copy of its end."""
        pipe.set(copy_key(record.id), text, ex=KEEP_SETTLED_S)

    # Nothing accepted is lost

    def sweep(self) -> None:
        """Bring back what is lost; delete bytes and decisions of no upload, and ends, when they are an hour old."""
        written = dict(self._storage.entries("uploads"))
        waiting = {match[1] for key in written if (match := UPLOAD.keys.fullmatch(key))}
        self.bring_back(waiting, look(self._redis, [INTAKE]))
        dropped = {one for one in waiting if _old(written[record_key(one)]) and self._nobody_can_read(one)}
        # The record is written right after the bytes and goes right after them: bytes without one belong to nobody
        owned = {key(one) for one in waiting for key in (record_key, bytes_key, end_key)}
        orphans = [key for key, when in written.items() if key not in owned and _old(when)]
        for key in [*orphans, *(key(one) for one in dropped for key in (record_key, bytes_key, end_key))]:
            self._storage.delete(key)
        for key, when in self._storage.entries("settled"):
            if _old(when):
                self._storage.delete(key)

    def _nobody_can_read(self, upload_id: str) -> bool:
        """Whether its record cannot be read; its sender was told so for an hour."""
        try:
            self.waiting(upload_id)
        except Unreadable as error:
            return not isinstance(error, Newer)
        return False


def _old(when: datetime) -> bool:
    return datetime.now(UTC) - when > ORPHANED_AFTER
