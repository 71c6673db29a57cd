"""Files that came in parts, put together and handed to intake as if they had been sent whole."""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from app.http.spool import PREFIX
from app.outgoing.downloading import is_full
from app.shared.errors import NoRoom, NotFound, Unreadable
from app.shared.lifecycle import now
from app.shared.resumables import Resumables
from app.shared.uploads import Uploads
from app.shared.wire.resumable import Resumable
from app.shared.wire.upload import Upload, UploadStatus


class Assembling:
    """Makes an upload of one file at a call."""

    most, share = 4, 2

    def __init__(self, resumables: Resumables, uploads: Uploads) -> None:
        self._resumables, self._uploads = resumables, uploads

    def pending(self) -> Iterable[str]:
        """Every file that is whole; those that never will be are forgotten."""
        self._resumables.sweep()
        whole = (one for one in self._resumables.unfinished() if self._resumables.offset(one.id) == one.size_bytes)
        return [one.id for one in whole]

    def owner(self, task_id: str) -> str:
        """Whose a file is."""
        with suppress(NotFound, Unreadable):
            return self._resumables.get(task_id).owner
        return ""

    def run(self, task_id: str, look: Callable[[], None]) -> float | None:
        """Make an upload of a file that is whole; never again."""
        try:
            self._run(self._resumables.get(task_id), look)
        except NotFound:  # who did this was first, or somebody terminated it
            return None
        return None

    def _run(self, one: Resumable, look: Callable[[], None]) -> None:
        if self._resumables.offset(one.id) < one.size_bytes:
            return
        if not self._uploads.records.either(one.id):  # who made an upload of it may have died before saying so
            try:
                self._stage(one, look)
            except (OSError, NoRoom) as error:
                if not is_full(error):
                    raise
                self._refuse(one, "no_room", "the service has no room for this file; send it again later")
        self._resumables.forget(one.id)

    def _stage(self, one: Resumable, look: Callable[[], None]) -> None:
        digest, size = hashlib.sha256(), 0
        with NamedTemporaryFile(prefix=PREFIX) as file:
            for chunk in self._resumables.stream(one):
                look()
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
            file.flush()
            self._resumables.get(one.id)  # not terminated meanwhile
            if size != one.size_bytes:
                self._refuse(one, "upload_lost", "parts of this file are gone; send it again")
            elif one.sha256 not in (None, digest.hexdigest()):
                message = (
                    f"the file has the sha256 {digest.hexdigest()}, not the one that it should have; send it again"
                )
                self._refuse(one, "hash_differs", message)
            else:
                self._uploads.stage(upload_of(one, digest.hexdigest()), Path(file.name))

    def _refuse(self, one: Resumable, code: str, message: str) -> None:
        self._uploads.refuse(upload_of(one, ""), code, message)


def upload_of(one: Resumable, sha256: str) -> Upload:
    """The upload that a file becomes."""
    facts = {"status": UploadStatus.INSPECTING, "sha256": sha256, "size_bytes": one.size_bytes, "created_at": now()}
    return Upload(id=one.id, owner=one.owner, kind=one.kind, **facts, **one.said)
