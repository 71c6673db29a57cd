"""Adapters: upload, list, look at, fetch, delete."""

import hashlib
import secrets
import tempfile
import time
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, BinaryIO

from fastapi import Form, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from pydantic import BaseModel, StringConstraints

from app.deps import Service, ServiceDep
from app.downloads import documented, download
from app.faults import fault, refused
from app.routing import Router
from app.shared.catalog import file_key
from app.shared.errors import AdapterRefused, NotFound, TooLarge, Unavailable
from app.shared.ledger import ID, now
from app.shared.schema import (
    AdapterName,
    AdapterRecord,
    AdapterVersion,
    Name,
    Ref,
    Upload,
    UploadStatus,
)
from app.shared.settings import MIB
from app.shared.text import blank, no_control_characters

router = Router(prefix="/v1/adapters", tags=["adapters"])

CHUNK = 1024 * 1024
POLL_S = 0.02
ZIP = b"PK\x03\x04"  # two bytes would not do: a sound safetensors file of 19,280 bytes of header begins with "PK" too


class AdapterList(BaseModel):
    """The newest version of every adapter, by name."""

    adapters: list[AdapterVersion]


@router.post("", status_code=201, responses={200: {"model": AdapterRecord}, 202: {"model": Upload}})
def upload(
    file: UploadFile,
    name: Annotated[AdapterName, Form()],
    service: ServiceDep,
    response: Response,
    description: Annotated[str, Form(max_length=2000)] = "",
    ignore: Annotated[list[Annotated[str, StringConstraints(max_length=256)]] | None, Form()] = None,
) -> AdapterRecord:
    """Upload an adapter: 201 with its verdict, 200 if it was there, 202 if inspection takes longer, 422 if refused."""
    _text({"/description": description} | {f"/ignore/{index}": one for index, one in enumerate(ignore or [])})
    if not service.profiles.ready():
        raise Unavailable("model_not_ready", "no worker has loaded a model yet, so nothing can be judged; try again")
    with tempfile.TemporaryDirectory(prefix="radiata-upload-") as folder:
        path = Path(folder) / "upload"
        size, digest = _receive(file.file, path, service.settings.max_upload_mb)
        staged = Upload(
            id=secrets.token_hex(16),
            status=UploadStatus.INSPECTING,
            name=name,
            description=description,
            ignore=sorted({pattern for pattern in ignore or [] if pattern}),
            sha256=digest,
            size_bytes=size,
            created_at=now(),
        )
        service.uploads.stage(staged, path)
    settled = _settled(service, staged.id)
    response.status_code = 201 if settled.new else 200
    response.headers["Location"] = f"/v1/adapters/{settled.name}"
    return _outcome(service, settled)


def _text(texts: Mapping[str, str]) -> None:
    faults = []
    for place, text in texts.items():
        try:
            no_control_characters(text)
        except ValueError as error:
            faults.append(fault(place, "control_characters", str(error)))
            continue
        if text and blank(text) and place.startswith("/ignore"):
            faults.append(fault(place, "blank", "nothing of this pattern can be seen; name a tensor, or leave it out"))
    if faults:
        raise refused(faults, "control_characters")


def _receive(source: BinaryIO, path: Path, cap_mb: int) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as target:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > cap_mb * MIB:
                raise TooLarge("upload_too_large", f"the file is over {cap_mb} MiB; RADIATA_MAX_UPLOAD_MB sets the cap")
            digest.update(chunk)
            target.write(chunk)
    if size == 0:
        raise AdapterRefused("upload_empty", "the file is empty; send the bytes of a .safetensors file")
    return size, digest.hexdigest()


def _settled(service: Service, upload_id: str) -> Upload:
    """The upload once it is settled, or as it stands when the wait is over."""
    until = time.monotonic() + service.settings.upload_wait_s
    while True:
        found = service.uploads.get(upload_id)
        if found.status is not UploadStatus.INSPECTING or time.monotonic() > until:
            return found
        time.sleep(POLL_S)


def _outcome(service: Service, upload: Upload) -> AdapterRecord:
    """The record of what was admitted, or a 202 while it is inspected; raises AdapterRefused."""
    if upload.status is UploadStatus.REFUSED:
        raise AdapterRefused(upload.code or "adapter_refused", upload.message or "", reasons=upload.reasons)
    if upload.status is UploadStatus.INSPECTING:
        headers = {"Location": f"/v1/adapters/uploads/{upload.id}"}
        return JSONResponse(upload.model_dump(mode="json"), 202, headers)  # type: ignore[return-value]
    return service.catalog.record(f"{upload.name}:{upload.version}")


@router.get("/uploads/{upload_id}", responses={202: {"model": Upload}})
def upload_status(upload_id: str, service: ServiceDep) -> AdapterRecord:
    """What became of an upload: 202 while it is inspected, then its record, or 422 with every reason."""
    if not ID.fullmatch(upload_id):
        raise NotFound("upload_unknown", "there is no such upload")
    return _outcome(service, service.uploads.get(upload_id))


@router.get("")
def adapters(service: ServiceDep) -> AdapterList:
    """Every adapter, newest version each."""
    return AdapterList(adapters=service.catalog.newest())


@router.get("/{ref}")
def adapter(ref: Ref, service: ServiceDep) -> AdapterRecord:
    """One adapter with its verdict; `name`, `name:version` or `sha256:…`."""
    return service.catalog.record(ref)


@router.get("/{ref}/file", response_class=Response, responses=documented("application/octet-stream"))
def adapter_file(ref: Ref, service: ServiceDep, request: Request) -> Response:
    """The file, byte for byte as it was uploaded, or a part of it."""
    version = service.catalog.resolve(ref)
    found = service.storage.stream(file_key(version.sha256))
    if found is None:
        raise NotFound("file_missing", "the adapter is known, but its file is gone from storage; upload it again")
    size, chunks = found
    first = next(chunks, b"")
    ending = "zip" if first.startswith(ZIP) else "safetensors"  # PEFT's folders come zipped
    headers = {
        "Content-Disposition": f'attachment; filename="{version.name}.{ending}"',
        "Cache-Control": "no-cache",  # the same name may mean other bytes tomorrow
    }
    whole = chain([first], chunks)
    return download(request, f'"{version.sha256}"', size, whole, "application/octet-stream", headers)


@router.delete("/{name}", status_code=204)
def delete(name: Name, service: ServiceDep) -> None:
    """Delete an adapter with all its versions; accepted generations still wear it."""
    service.catalog.delete(name)
