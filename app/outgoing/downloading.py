"""Files of other hosts, fetched into the data folder and handed to intake as if they had been sent."""

import fcntl
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import EDQUOT, ENOSPC
from functools import partial
from hashlib import file_digest
from pathlib import Path

import structlog

from app.outgoing.courier import Stopped
from app.shared.downloads import Downloads
from app.shared.errors import Gone, NoRoom, SourceAway, SourceRefused, Unreadable
from app.shared.fetching.download import download, forget
from app.shared.fetching.fetcher import SMALL, Bounds
from app.shared.fetching.sources import PEFT, Sources
from app.shared.lifecycle import now
from app.shared.settings import MIB, Settings
from app.shared.uploads import Uploads
from app.shared.wire.source import Found
from app.shared.wire.upload import Download, UploadStatus

log = structlog.get_logger()

ONE_TRY_S = 3600.0
GIVEN_UP_S = 24 * 3600.0
PAUSES_S = (1.0, 5.0, 30.0, 120.0, 600.0)  # before each other try; the last for ever
TELL_S = 0.5
SAME_TIME = (1980, 1, 1, 0, 0, 0)


class Downloading:
    """Fetches one file at a call."""

    most, share = 16, 4

    def __init__(self, downloads: Downloads, uploads: Uploads, sources: Sources, settings: Settings) -> None:
        self._downloads, self._uploads, self._sources = downloads, uploads, sources
        self._folder = settings.data_dir / "fetching"
        self._most = {"adapter": settings.max_upload_mb * MIB, "dataset": settings.max_dataset_mb * MIB}

    def pending(self) -> Iterable[str]:
        """Every download that was accepted; parts of files that nobody waits for any more are deleted."""
        waiting = list(self._downloads.pending())
        if self._folder.exists():
            for part in self._folder.iterdir():
                with suppress(FileNotFoundError):
                    if part.name[:32] not in waiting and time.time() - part.stat().st_mtime > GIVEN_UP_S:
                        part.unlink()
        return waiting

    def owner(self, task_id: str) -> str:
        """Whose a download is."""
        with suppress(Unreadable):
            wanted = self._downloads.waiting(task_id)
            return wanted.upload.owner if wanted else ""
        return ""

    def run(self, task_id: str, look: Callable[[], None]) -> float | None:
        """Fetch a file; seconds after which it is tried again, or None where it is an upload by now, or refused."""
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / task_id
        with _alone(self._folder / f"{task_id}.lock") as alone:
            if not alone:
                return PAUSES_S[0]
            again = self._run(task_id, file, look)
            if again is None:
                for one in (file, _packed(file)):
                    forget(one)
        if again is None:
            (self._folder / f"{task_id}.lock").unlink(missing_ok=True)
        return again

    def _run(self, task_id: str, file: Path, look: Callable[[], None]) -> float | None:
        wanted = self._downloads.waiting(task_id)
        if wanted is None:
            return None
        if self._uploads.records.either(task_id):  # whoever made an upload of it, or ended it, died before saying so
            self._downloads.over(task_id)
            return None
        try:
            wanted, path, digest = self._fetched(wanted, file, look)
            facts = {"sha256": digest, "size_bytes": path.stat().st_size}
            staged = wanted.upload.model_copy(update={"status": UploadStatus.INSPECTING, **facts})
            if self._downloads.waiting(task_id):  # not canceled meanwhile
                self._uploads.stage(staged, path)
                self._downloads.over(task_id)
        except Stopped:
            raise
        except Gone:
            return None
        except SourceRefused as refusal:
            return self._refused(wanted, refusal.code, refusal.message)
        except SourceAway as away:
            return self._later(wanted, away.code, away.message)
        except Exception as error:
            if is_full(error):
                return self._refused(wanted, "no_room", "the service has no room for this file; ask again later")
            log.exception("download_failed", download=task_id)
            return self._later(wanted, "fetch_failed", "this file could not be fetched, for a reason of the service's")
        return None

    def _later(self, wanted: Download, code: str, message: str) -> float | None:
        """Return seconds after which it is tried again, or None where that was done for a day, and it is refused."""
        if (now() - wanted.upload.created_at).total_seconds() > GIVEN_UP_S:
            return self._refused(wanted, code, f"{message}; it was tried for a day")
        log.info("download_waits", download=wanted.id, why=message)
        current = self._downloads.waiting(wanted.id) or wanted  # which may know by now what it is of
        self._downloads.update(current.model_copy(update={"tries": wanted.tries + 1}))
        return PAUSES_S[min(wanted.tries, len(PAUSES_S) - 1)]

    def _fetched(self, wanted: Download, file: Path, look: Callable[[], None]) -> tuple[Download, Path, str]:
        kind = "dataset" if wanted.upload.kind == "dataset" else "adapter"
        found = wanted.found or self._sources.find(wanted.source, kind)
        if wanted.found is None:  # from now on it is this file, whatever its name means later
            wanted = wanted.model_copy(update={"found": found})
            self._downloads.update(wanted)
        if wanted.sha256 and found.sha256 and wanted.sha256 != found.sha256:
            raise _another(wanted, found.sha256)
        told = 0.0

        def tell(got: int, size: int | None) -> None:
            nonlocal told
            look()
            if time.monotonic() - told > TELL_S or got == size:
                told = time.monotonic()
                self._downloads.tell(wanted.id, got, size)
                if self._downloads.waiting(wanted.id) is None:
                    raise Gone("upload_canceled", "this download was canceled while it was fetched")

        bounds = Bounds(self._most[kind], ONE_TRY_S)
        digest = download(partial(self._sources.get, wanted.source), found.url, file, bounds, tell)
        if digest != (wanted.sha256 or found.sha256 or digest):
            forget(file)
            raise _another(wanted, digest)
        if not found.beside:
            return wanted, file, digest
        packed = self._with_configuration(wanted.source, found, file)
        with packed.open("rb") as whole:
            return wanted, packed, file_digest(whole, "sha256").hexdigest()

    def _with_configuration(self, source: str, found: Found, file: Path) -> Path:
        """Return a zip of PEFT's file and what it means nothing without, as it is uploaded."""
        assert found.beside
        with self._sources.get(source, found.beside, SMALL) as answer:
            answer.judge()
            configuration = answer.whole()
        with zipfile.ZipFile(_packed(file), "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(zipfile.ZipInfo(PEFT[1], SAME_TIME), configuration)
            with file.open("rb") as weights, archive.open(zipfile.ZipInfo(PEFT[0], SAME_TIME), "w") as packed:
                while block := weights.read(MIB):
                    packed.write(block)
        return _packed(file)

    def _refused(self, wanted: Download, code: str, message: str) -> None:
        self._uploads.refuse(wanted.upload, code, message)
        self._downloads.over(wanted.id)


def _another(wanted: Download, digest: str) -> SourceRefused:
    return SourceRefused(
        "hash_differs", f"{wanted.upload.source} has the sha256 {digest}, not the one that it should have"
    )


def is_full(error: BaseException) -> bool:
    """Whether storage, or the disk of this machine, has no room."""
    return isinstance(error, NoRoom) or (isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT))


def _packed(file: Path) -> Path:
    return file.with_name(f"{file.name}.zip")


@contextmanager
def _alone(lock: Path) -> Iterator[bool]:
    """Whether no other process of this machine fetches the same file: one that hung may have been taken for dead."""
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
