"""Uploaded files between the door and the catalog: staged in storage, judged by the intake worker.

Key `radiata:upload:<id>`: string, the settled `Upload` as JSON; written by intake, read by the adapters route; an
hour. `settled/<id>.json` says the same for whoever asks after Redis was emptied. An unsettled upload is
`uploads/<id>.json` beside its bytes, so that it outlives Redis. Creating `uploads/<id>.end` decides between its name
and its cancel, when both are about to be.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from redis import Redis
from redis.exceptions import ResponseError
from rq.job import JobStatus

from app.shared.errors import Conflict, NoRoom, NotFound, Unreadable
from app.shared.events import wake
from app.shared.lost import Lost, look
from app.shared.queue import INTAKE, Queues
from app.shared.records import SETTLED, UPLOAD, tell
from app.shared.schema import Upload, UploadStatus
from app.shared.settings import Settings
from app.shared.storage import Storage

KEEP_SETTLED_S = 3600
ORPHANED_AFTER = timedelta(hours=1)
NAMED, CANCELED = b"named", b"canceled"  # what `end_key` can say


def bytes_key(upload_id: str) -> str:
    """Where the bytes of an upload wait."""
    return f"uploads/{upload_id}.safetensors"


def record_key(upload_id: str) -> str:
    """Where the facts of an upload wait."""
    return f"uploads/{upload_id}.json"


def end_key(upload_id: str) -> str:
    """Where stands whether an upload gets its name, or is canceled; whoever creates it decides."""
    return f"uploads/{upload_id}.end"


def told_key(upload_id: str) -> str:
    """Where stands in storage what became of an upload."""
    return f"settled/{upload_id}.json"


def settled_key(upload_id: str) -> str:
    """Redis key of what became of an upload."""
    return f"radiata:upload:{upload_id}"


class Uploads:
    """Stages uploads, and tells what became of them."""

    def __init__(self, storage: Storage, redis: Redis, settings: Settings) -> None:
        self._storage = storage
        self._redis = redis
        self.queues = Queues(redis, settings)
        self._lost = Lost(redis, self.queues, settings, "uploads")

    def stage(self, upload: Upload, file: Path) -> None:
        """Put an upload in storage and queue its inspection; the record is written last and makes it count."""
        self._storage.put(bytes_key(upload.id), file)
        self._storage.put(record_key(upload.id), upload.model_dump_json().encode())
        self.queues.enqueue_inspection(upload.id)

    async def stage_async(self, upload: Upload, file: Path) -> None:
        """As `stage`, and hold no thread of the caller's while storage takes its time."""
        await self._storage.put_async(bytes_key(upload.id), file)
        await self._storage.put_async(record_key(upload.id), upload.model_dump_json().encode())
        await asyncio.to_thread(self.queues.enqueue_inspection, upload.id)

    def get(self, upload_id: str) -> Upload:
        """An upload as it stands; raises Unreadable, or NotFound when it never was or settled over an hour ago."""
        # Asked for twice: it may settle, and its record go, between the first look and the second
        found = self._settled(upload_id) or self.waiting(upload_id) or self._settled(upload_id)
        found = found or SETTLED.get(self._storage, told_key(upload_id))  # Redis was emptied since
        if found is None:
            raise NotFound("upload_unknown", "there is no such upload, or it settled more than an hour ago")
        return found

    def _settled(self, upload_id: str) -> Upload | None:
        with suppress(Unreadable, ResponseError):
            text = cast(bytes | None, self._redis.get(settled_key(upload_id)))
            return UPLOAD.read(record_key(upload_id), text) if text is not None else None
        return None

    def waiting(self, upload_id: str) -> Upload | None:
        """The record of an upload that is not settled, or None; raises Unreadable."""
        return UPLOAD.get(self._storage, record_key(upload_id))

    def to_be_named(self, upload_id: str) -> bool:
        """Whether it gets its name; asked right before. From then on nobody can cancel it; asked again, it says so."""
        return self._decided(upload_id, NAMED)

    def _decided(self, upload_id: str, how: bytes) -> bool:
        mine = self._storage.create(end_key(upload_id), how) or self._storage.get(end_key(upload_id)) == how
        if self.waiting(upload_id) is None:  # it has settled: what was just created came too late
            self._clear(upload_id)
            return False
        return mine

    def settle(self, upload: Upload) -> Upload:
        """Say what became of an upload and clear its place; what was said first, and is given back, stands.

        Whatever was admitted is elsewhere by now, and is said in any case.
        """
        key, first = settled_key(upload.id), upload.status is not UploadStatus.ADMITTED
        said = self._redis.set(key, upload.model_dump_json(), ex=KEEP_SETTLED_S, nx=first)
        stands = upload if said else self._settled(upload.id) or upload
        with suppress(NoRoom):  # then Redis alone says it: what is refused or canceled must make room
            self._storage.put(told_key(upload.id), stands.model_dump_json().encode())
        wake(self._redis, upload.id)
        self._clear(upload.id)
        return stands

    def _clear(self, upload_id: str) -> None:
        # What decides goes last: where it is gone, the record is too, and nothing can be decided anew
        for key in (record_key(upload_id), bytes_key(upload_id), end_key(upload_id)):
            self._storage.delete(key)

    def refuse(self, upload: Upload, code: str, message: str, reasons: list[dict[str, object]] | None = None) -> None:
        """Settle an upload as refused."""
        facts = {"status": UploadStatus.REFUSED, "code": code, "message": message, "reasons": reasons or []}
        self.settle(upload.model_copy(update=facts))

    def cancel(self, upload_id: str) -> Upload:
        """Cancel an upload that has no name yet; raises NotFound, Unreadable, and Conflict when it comes too late."""
        found = self.get(upload_id)
        if found.status is UploadStatus.INSPECTING:
            if self._canceled(upload_id):
                found = self.canceled(found)
                self.queues.drop(upload_id)
            else:
                found = self.get(upload_id)
        if found.status is UploadStatus.INSPECTING:
            raise Conflict("already_ended", f"this upload gets its name just now; `DELETE /v1/adapters/{found.name}`")
        if found.status is not UploadStatus.CANCELED:
            raise Conflict("already_ended", f"this upload was {found.status}; there is nothing to cancel")
        return found

    def _canceled(self, upload_id: str) -> bool:
        try:
            return self._decided(upload_id, CANCELED)
        except NoRoom:  # nor is there any for its name, and what is canceled makes room
            return True

    def canceled(self, upload: Upload) -> Upload:
        """Settle an upload as canceled; as it stands."""
        return self.settle(upload.model_copy(update={"status": UploadStatus.CANCELED}))

    def sweep(self) -> None:
        """Queue again what is lost; refuse what killed its inspection on every try; clear away bytes of no upload."""
        written = dict(self._storage.entries("uploads"))
        waiting = [key.removeprefix("uploads/").removesuffix(".json") for key in written if key.endswith(".json")]
        for upload_id, status in self._lost.among(waiting, look(self._redis, [INTAKE])):
            try:
                self.waiting(upload_id)
            except Unreadable as error:  # nobody can judge it; whoever sent it is told so for an hour
                tell(self._redis, error)
                self.queues.drop(upload_id)
                if datetime.now(UTC) - written[record_key(upload_id)] > ORPHANED_AFTER:
                    self._clear(upload_id)
                continue
            if status in (JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED):
                self.refuse_dead(upload_id)
            else:
                self.queues.drop(upload_id)
                self.queues.enqueue_inspection(upload_id)
        # Their record is written right after them and goes right before: an old one without it belongs to nobody
        owned = {bytes_key(upload_id) for upload_id in waiting}
        orphans = [(key, when) for key, when in written.items() if not key.endswith(".json") and key not in owned]
        for key, when in [*orphans, *self._storage.entries("settled")]:
            if datetime.now(UTC) - when > ORPHANED_AFTER:
                self._storage.delete(key)

    def refuse_dead(self, upload_id: str) -> None:
        """Refuse an upload whose inspection died or ran out of time or memory on every try."""
        if upload := self.waiting(upload_id):
            self.refuse(
                upload,
                "inspection_died",
                "inspecting this file used up its time or memory, or crashed; it is not an adapter that can be used",
            )
        self.queues.drop(upload_id)
