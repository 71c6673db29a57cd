"""Files on their way in: put where intake finds them, waited for a moment, and asked about later."""

import secrets
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from app.deps import Service
from app.hub import within
from app.shared.environment import variable
from app.shared.errors import BadRequest, Gone, TooLarge
from app.shared.fetching.sources import SourceKind
from app.shared.lifecycle import now
from app.shared.settings import MIB
from app.shared.uploads import bytes_key, record_key
from app.shared.wire.upload import Download, Upload, UploadKind, UploadStatus

ASYNC = "respond-async"  # RFC 7240


def at_once(prefer: str | None) -> bool:
    """Whether a `Prefer` header says that no verdict is waited for."""
    return (prefer or "").strip().lower() == ASYNC


def judge_size(size: int, cap_mb: int, setting: str) -> None:
    """Raise TooLarge for a file over the cap that a setting is."""
    if size > cap_mb * MIB:
        raise TooLarge("upload_too_large", f"the file is over {cap_mb} MiB; {variable(setting)} sets the cap")


async def stage(service: Service, kind: UploadKind, data: Path | bytes, digest: str, size: int, **said: Any) -> Upload:
    """Put a file where intake finds it; said: what its sender says of it. Raises TooMany."""
    await run_in_threadpool(service.limits.upload)
    staged = Upload(
        id=secrets.token_hex(16),
        owner=service.owner,
        kind=kind,
        status=UploadStatus.INSPECTING,
        sha256=digest,
        size_bytes=size,
        created_at=now(),
        **said,
    )
    await service.uploads.stage_async(staged, data)
    return staged


async def stage_bytes(service: Service, kind: UploadKind, data: bytes) -> Upload:
    """As `stage`, of a file that is in memory."""
    return await stage(service, kind, data, sha256(data).hexdigest(), len(data))


def stage_placed(service: Service, upload_id: str, **said: Any) -> Upload:
    """As `stage`, of a file that the command line of this machine has put into the store itself.

    Raises NotFound, also for what was staged before, TooLarge and TooMany.
    """
    service.limits.upload()
    found = service.storage.stream(bytes_key(upload_id))
    if found is None or service.storage.exists(record_key(upload_id)):
        raise service.uploads.unknown()
    size, chunks = found
    judge_size(size, service.settings.max_upload_mb, "max_upload_mb")
    digest = sha256()
    for chunk in chunks:
        digest.update(chunk)
    staged = Upload(
        id=upload_id,
        owner=service.owner,
        status=UploadStatus.INSPECTING,
        sha256=digest.hexdigest(),
        size_bytes=size,
        created_at=now(),
        **said,
    )
    service.uploads.stage_placed(staged)
    return staged


async def settled(service: Service, upload_id: str, gone: Callable[[], Awaitable[bool]]) -> Upload:
    """The upload once it is settled, or as it stands when the wait ends: it took too long, its client or we go."""
    until = time.monotonic() + service.settings.upload_wait_s
    with service.hub.watching(upload_id) as published:
        while True:
            published.clear()
            found = await run_in_threadpool(service.uploads.get, upload_id)
            left = until - time.monotonic()
            over = left <= 0 or service.hub.stopping
            if found.status.ended or over or await gone():
                return found
            await within(published, left)


def known(service: Service, upload_id: str, *kinds: UploadKind) -> Upload:
    """An upload of one of these kinds as it stands; raises NotFound or Unreadable."""
    found = service.downloads.get(upload_id)
    if found.kind not in kinds:
        raise service.uploads.unknown()
    return found


def judge_end(upload: Upload, refused: type[BadRequest]) -> None:
    """Raise `refused` or Gone for an upload of which nothing has become."""
    if upload.status is UploadStatus.REFUSED:
        raise refused(upload.code or "upload_refused", upload.message or "", reasons=upload.reasons)
    if upload.status is UploadStatus.CANCELED:
        raise Gone("upload_canceled", "this upload was canceled before it was judged; send the file again")


def fetch(service: Service, kind: SourceKind, source: str, sha256: str | None, **said: Any) -> Upload:
    """Have a file of another host fetched, and judged once it is here; said: what its sender says of it.

    Raises TooMany, and SourceRefused for what is no source, or leads where nothing is asked.
    """
    shown = service.sources.judge(source, kind)
    service.limits.upload()
    upload = Upload(
        id=secrets.token_hex(16),
        owner=service.owner,
        kind=kind,
        status=UploadStatus.FETCHING,
        source=shown,
        sha256="",
        size_bytes=0,
        created_at=now(),
        **said,
    )
    service.downloads.begin(Download(upload=upload, source=source, sha256=sha256))
    service.courier.wake()
    return upload


def later(record: BaseModel, where: str) -> JSONResponse:
    """The answer to an upload that is not settled: what is known of it, and where to ask."""
    return JSONResponse(record.model_dump(mode="json"), 202, {"Location": where})
