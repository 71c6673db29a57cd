"""Intake: what becomes of a file that somebody uploaded, judged in a process that may die.

Maps that are asked for by themselves are made here too: they depend on no base, so they need not wait behind drawings,
and what they need much memory or time for ends with its fork.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

import structlog
import torch
from redis import Redis
from rq.timeouts import JobTimeoutException

from app.shared.audit import Audit
from app.shared.catalog import Catalog, file_key
from app.shared.datasets import Datasets, sent_ref
from app.shared.errors import (
    AdapterRefused,
    BadRequest,
    Gone,
    Newer,
    NotFound,
    PictureRefused,
    RadiataError,
    Unavailable,
    Unreadable,
)
from app.shared.facts import AdapterFacts, Fitting
from app.shared.lifecycle import now
from app.shared.owners import BUNDLED, FIRST
from app.shared.pictures import PictureRef, Pictures
from app.shared.profiles import Profiles
from app.shared.settings import MIB, Settings
from app.shared.storage import Storage
from app.shared.uploads import Uploads, bytes_key, timeout_s
from app.shared.wire.adapter import AdapterKind, AdapterVersion, Visibility
from app.shared.wire.map import MapWanted, Preprocess
from app.shared.wire.upload import Upload, UploadStatus
from lycoris import AdapterError
from workers.adapters.uploaded import KnownBase, opened
from workers.control.maps import Maps
from workers.control.preprocessors import ModelAway
from workers.datasets import ReceivedDatasets
from workers.decoding import decode, mask_of
from workers.limits import limit_memory, limit_time
from workers.patience import Patience, PatientStorage
from workers.written import written

log = structlog.get_logger()

CANCELED = "this upload was canceled while it was judged"
PIPED = 65536  # bytes that are read of what forks told
FILE_COPIES = 4  # the bytes, their tensors, and float32 copies of them
DECODING_S = 20  # of a CPU: the largest picture that is taken needs 3


class _Judged(NamedTuple):
    kind: AdapterKind
    verdicts: dict[str, dict[str, Any]]  # by model
    facts: AdapterFacts


class Intake:
    """Judges files against every model that is ready, and names those that fit one; decodes pictures, makes maps."""

    def __init__(self, storage: Storage, redis: Redis, settings: Settings) -> None:
        self._patience = Patience(settings.storage_patience_s)
        self._storage = storage = PatientStorage(storage, self._patience)
        self._settings = settings
        self._catalog = Catalog(storage, redis)
        self._audit = Audit(storage)
        self._profiles = Profiles(storage, settings)
        self._uploads = Uploads(storage, redis, settings)
        self._pictures = Pictures(storage)
        self._maps = Maps(self._pictures, settings)
        self._pipe: tuple[int, int] | None = None  # through which forks say what maps they have made, a line each
        self._datasets = ReceivedDatasets(storage, self._pictures, settings)
        self._ways = {
            "adapter": self._adapter,
            "picture": self._picture,
            "recipe": self._recipe,
            "mask": self._mask,
            "map": self._map,
            "dataset": self._dataset,
        }

    def prepare(self) -> None:
        """Load models with which forks have made maps, so that the next ones have them; to be called before a fork."""
        if self._pipe is None:
            self._pipe = os.pipe()
            for end in self._pipe:
                os.set_blocking(end, False)
        with suppress(BlockingIOError):
            for kind in set(os.read(self._pipe[0], PIPED).decode().split()):
                with suppress(RadiataError):  # the fork that needs it says why
                    self._maps.load(cast(Preprocess, kind))

    def run(self, upload_id: str) -> None:
        """Settle an upload; to be called in a fork of its own. What is away is waited for."""
        with self._patience.during():
            self._run(upload_id)

    def _run(self, upload_id: str) -> None:
        upload = self._uploads.to_do(upload_id)
        if upload is None:
            return
        limit_memory(self._settings.inspect_memory_mb * MIB + FILE_COPIES * upload.size_bytes)
        torch.set_num_threads(1)
        data = self._storage.get(bytes_key(upload_id))
        if data is None:
            self._uploads.refuse(upload, "upload_lost", "the bytes of this upload are gone; send them again")
            return
        try:
            found = self._ways[upload.kind](upload, data)
        except Gone:  # canceled meanwhile; who canceled it may have died before saying so
            self._uploads.canceled(upload)
        except Newer:  # another worker can read it
            raise
        except (AdapterRefused, BadRequest, NotFound, PictureRefused, Unreadable) as refusal:
            self._uploads.refuse(upload, refusal.code, refusal.message, list(refusal.reasons))
        except JobTimeoutException:
            seconds = timeout_s(upload, self._settings)
            message = f"inspecting this file took longer than the {seconds} s that RADIATA_INSPECT_TIMEOUT_S allows"
            self._uploads.refuse(upload, "timed_out", message)
        except MemoryError as error:
            log.warning("inspection_died", upload=upload_id, error=repr(error))
            self._uploads.refuse_dead(upload_id)
        else:
            self._uploads.settle(upload.model_copy(update={"status": UploadStatus.ADMITTED, **found}))

    def _adapter(self, upload: Upload, data: bytes) -> dict[str, Any]:
        def keep(key: str) -> None:
            if not self._storage.copy(bytes_key(upload.id), key):  # canceled just now, and cleared away
                raise Gone("upload_canceled", CANCELED)

        version, new = self.admit(
            data,
            upload.name,
            upload.description,
            upload.ignore,
            upload.created_at,
            image_encoder=upload.image_encoder,
            cover=upload.cover,
            owner=upload.owner,
            visibility=upload.visibility,
            wanted=lambda: self._uploads.waiting(upload.id) is not None,
            last_word=lambda: self._uploads.to_be_named(upload.id),
            keep=keep,
        )
        return {"version": version.version, "new": new}

    def _picture(self, upload: Upload, data: bytes) -> dict[str, Any]:
        limit_time(DECODING_S)
        image, notes = decode(data)
        kept, new = self._pictures.keep(image, upload.owner)
        return {"picture": kept, "new": new, "notes": notes}

    def _recipe(self, _: Upload, data: bytes) -> dict[str, Any]:
        limit_time(DECODING_S)
        return {"written": written(data)}

    def _mask(self, upload: Upload, data: bytes) -> dict[str, Any]:
        limit_time(DECODING_S)
        kept, new = self._pictures.keep(mask_of(decode(data).image), upload.owner)
        return {"picture": kept, "new": new}

    def _map(self, upload: Upload, data: bytes) -> dict[str, Any]:
        try:
            wanted = MapWanted.model_validate_json(data)
            made = self._maps.made(wanted)
            if self._pipe:
                with suppress(BlockingIOError):  # it was told often enough
                    os.write(self._pipe[1], f"{wanted.preprocess}\n".encode())
        except ModelAway as error:  # other files wait behind this one, and a map can be asked for again
            raise BadRequest(error.code, f"{error.message}; ask again later") from error
        kept, new = self._pictures.keep(made, upload.owner)
        return {"picture": kept, "new": new}

    def _dataset(self, upload: Upload, data: bytes) -> dict[str, Any]:
        kept, new = self._datasets.keep(
            data, upload.default_caption, upload.unreadable, upload.created_at, upload.owner
        )
        Datasets(self._storage, upload.owner).note(
            sent_ref(upload.sha256, upload.default_caption, upload.unreadable), kept.ref
        )
        return {"dataset": kept.ref, "new": new}

    def admit(
        self,
        data: bytes,
        name: str,
        description: str,
        ignore: Sequence[str],
        created_at: datetime,
        image_encoder: str = "",
        cover: PictureRef | None = None,
        owner: str = FIRST,
        visibility: Visibility | None = None,
        wanted: Callable[[], bool] = lambda: True,
        last_word: Callable[[], bool] = lambda: True,
        keep: Callable[[str], None] | None = None,
    ) -> tuple[AdapterVersion, bool]:
        """Judge these bytes and give them a name; say whether that was new.

        wanted: asked once they are judged; last_word: once they are kept, right before the name is given; keep: keeps
        them under a key, where storage has them already. Raises AdapterRefused, Unreadable, and Gone when nobody wants
        them any more.
        """
        kind, verdicts, facts = self._judge(data, ignore, image_encoder)
        if not wanted():
            raise Gone("upload_canceled", CANCELED)
        sha256 = hashlib.sha256(data).hexdigest()
        if keep:
            keep(file_key(sha256))
        else:
            self._storage.put(file_key(sha256), data)
        version = AdapterVersion(
            name=name,
            version=1,
            sha256=sha256,
            description=description,
            ignore=list(ignore),
            image_encoder=image_encoder,
            cover=cover,
            size_bytes=len(data),
            components=sorted({component for one in verdicts.values() for component in one["components"]}),
            components_of={model: sorted(one["components"]) for model, one in verdicts.items()},
            fits=list(verdicts),
            kind=kind,
            created_at=created_at,
            owner=owner,
        )
        if visibility:  # what is not said stays as it was
            version = version.model_copy(update={"visibility": visibility})
        if not last_word():
            raise Gone("upload_canceled", CANCELED)
        given, new = self._catalog.admit(version, verdicts, facts, lambda: self._storage.put(file_key(sha256), data))
        if new and owner != BUNDLED:
            self._audit.write("adapter.added", name, owner, version=str(given.version), sha256=sha256)
        return given, new

    def _judge(self, data: bytes, ignore: Sequence[str], image_encoder: str) -> "_Judged":
        """Return what a file is, with the verdict on each model that it fits; raise AdapterRefused if it fits none."""
        try:
            file = opened(data, ignore, image_encoder)
        except AdapterError as refusal:
            raise _refused(refusal) from refusal
        verdicts: dict[str, dict[str, Any]] = {}
        on: dict[str, Fitting] = {}
        refusals: dict[str, AdapterError] = {}
        unread: Unreadable | None = None
        for name in self._settings.models:
            try:
                profile = self._profiles.found(name)
                if profile is None:  # no engine has loaded it yet
                    continue
                base = KnownBase(self._profiles, profile)
                verdicts[profile.name] = file.verdict(base)
            except Unreadable as error:  # the other models can be judged
                unread = error
                continue
            except AdapterError as refusal:
                refusals[name] = refusal
                continue
            try:
                if found := file.fitting(base):
                    on[profile.fingerprint] = found
            except Unreadable as error:  # without these facts the engine judges
                log.error("record_unreadable", key=error.key, error=error.message)
        if not verdicts and unread:
            raise unread  # it may fit that one
        if not verdicts and not refusals:
            raise Unavailable("model_not_ready", "no worker has loaded a model yet, so nothing can be judged")
        if not verdicts:
            # Of several models, the one it misses by least says what is wrong with it
            model, nearest = min(refusals.items(), key=lambda one: len(one[1].reasons))
            raise _refused(nearest, f" for {model!r}")
        return _Judged(file.kind, verdicts, file.facts(on))

    def publish_bundled(self, folder: Path, judged_for: str | None = None) -> None:
        """Give the adapters that came with a base model their names; a name that was deleted stays deleted.

        judged_for: a model that is what it was at the last start; what was found to fit it then is not judged again.
        """
        with self._patience.during():
            self._publish_bundled(folder, judged_for)

    def _publish_bundled(self, folder: Path, judged_for: str | None) -> None:
        for file in sorted(folder.glob("*.safetensors")):
            if not self._catalog.was_deleted(file.stem):
                data = file.read_bytes()
                try:
                    if judged_for and self._catalog.has(file.stem, hashlib.sha256(data).hexdigest(), judged_for):
                        continue
                    self.admit(data, file.stem, "came with the base model", [], now(), owner=BUNDLED)
                except AdapterRefused as refusal:
                    log.error("bundled_adapter_refused", name=file.stem, reasons=refusal.reasons)
                except Unreadable as error:
                    log.error("record_unreadable", key=error.key, error=error.message)


def _refused(refusal: AdapterError, of: str = "") -> AdapterRefused:
    return AdapterRefused("adapter_refused", f"not an adapter{of}: {refusal}", reasons=refusal.listed)
