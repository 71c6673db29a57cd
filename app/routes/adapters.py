"""Adapters: upload, list, look at, fetch, delete."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from fastapi import Form, Header, Query, Request, Response, UploadFile
from fastapi import Path as PathParameter
from pydantic import BaseModel, Field, StringConstraints
from starlette.concurrency import run_in_threadpool

from app.deps import Service, ServiceDep
from app.http import receiving
from app.http.downloads import documented, download
from app.http.faults import fault, refused
from app.http.places import Place, Prefix, adapter_placed, place_of
from app.http.receiving import at_once, judge_end, judge_size, known, later, settled, stage, stage_placed
from app.http.routing import UNKNOWN, Router, answers, or_json
from app.http.spool import Spooled
from app.shared.audit import Audit
from app.shared.catalog import file_key
from app.shared.errors import AdapterRefused, NotFound, Unavailable
from app.shared.text import blank, no_control_characters
from app.shared.wire.adapter import (
    ABOUT_ENCODER,
    ABOUT_VISIBILITY,
    AdapterName,
    AdapterRecord,
    ShownAdapter,
    Visibility,
)
from app.shared.wire.picture import PictureRef
from app.shared.wire.source import AdapterSource
from app.shared.wire.upload import Upload
from app.shared.wire.values import Name, Owner, Ref, Wire

router = Router(prefix="/v1/adapters", tags=["adapters"])

ZIP = b"PK\x03\x04"  # two bytes would not do: a sound safetensors file of 19,280 bytes of header begins with "PK" too


OwnerQuery = Annotated[Owner, Query(description="whose it is, where it is another's: `owner/name` of a request")]


class Placed(Wire):
    """What is said of a file that is in the store already."""

    name: AdapterName
    description: str = Field("", max_length=2000)
    image_encoder: Name | Literal[""] = Field("", description=ABOUT_ENCODER)
    cover: PictureRef | None = None
    visibility: Visibility | None = Field(None, description=ABOUT_VISIBILITY)


class Shown(Wire):
    """Who may use an adapter from now on."""

    visibility: Visibility = Field(description=ABOUT_VISIBILITY)


class AdapterList(BaseModel):
    """The newest version of every adapter, by name."""

    adapters: list[ShownAdapter]


@router.post_json("", status_code=202)
def fetch(said: AdapterSource, service: ServiceDep) -> Response:
    """Fetch an adapter from a hub, Civitai or another host, and judge it as an upload is."""
    judge_text({"/description": said.description} | {f"/ignore/{index}": one for index, one in enumerate(said.ignore)})
    if said.cover:
        service.pictures.info(said.cover)
    if not service.profiles.ready():
        raise Unavailable("model_not_ready", "no worker has loaded a model yet, so nothing can be judged; try again")
    facts = {
        "name": said.name,
        "description": said.description,
        "ignore": sorted(set(said.ignore)),
        "image_encoder": said.image_encoder,
        "cover": said.cover,
        "visibility": said.visibility,
    }
    begun = receiving.fetch(service, "adapter", said.source, said.sha256, **facts)
    return later(begun, f"/v1/adapters/uploads/{begun.id}")


@router.post(
    "",
    status_code=201,
    responses={
        200: {"model": AdapterRecord},
        202: {"model": Upload},
        **answers(UNKNOWN, {507: "There is no room for the file"}),
    },
    openapi_extra=or_json(AdapterSource),
)
async def upload(
    file: UploadFile,
    name: Annotated[AdapterName, Form()],
    service: ServiceDep,
    request: Request,
    response: Response,
    description: Annotated[str, Form(max_length=2000)] = "",
    ignore: Annotated[list[Annotated[str, StringConstraints(max_length=256)]] | None, Form()] = None,
    image_encoder: Annotated[Name | None, Form(description=ABOUT_ENCODER)] = None,
    cover: Annotated[PictureRef | None, Form(description="a picture of what it draws, of `POST /v1/images`")] = None,
    visibility: Annotated[Visibility | None, Form(description=ABOUT_VISIBILITY)] = None,
    prefer: Annotated[str | None, Header(description="`respond-async`: answer 202, wait for no verdict")] = None,
) -> AdapterRecord:
    """Upload an adapter: 201 with its verdict, 200 if it was there, 202 if inspection takes longer, 422 if refused.

    Or JSON with a `source`, from which it is fetched: 202, and what becomes of it where `Location` says.
    """
    assert isinstance(file, Spooled)
    try:
        judge_text({"/description": description} | {f"/ignore/{index}": one for index, one in enumerate(ignore or [])})
        if cover:
            await run_in_threadpool(service.pictures.info, cover)
        said = {"description": description, "cover": cover, "visibility": visibility}
        said["image_encoder"] = image_encoder or ""
        staged = await _staged(service, file, name, ignore or [], said)
        if await request.is_disconnected():  # nobody will learn where to ask for it
            staged = await run_in_threadpool(service.uploads.cancel, staged.id)
    finally:
        await file.close()
    return await admitted(service, staged, request, response, prefer)


async def admitted(
    service: Service, staged: Upload, request: Request, response: Response, prefer: str | None = None
) -> AdapterRecord:
    """Answer with the record of a staged file once it is judged: 201, 200 if it was there, 202 if that takes longer."""
    found = staged if at_once(prefer) else await settled(service, staged.id, request.is_disconnected)
    response.status_code = 201 if found.new else 200
    response.headers["Location"] = f"/v1/adapters/{found.name}"
    return await run_in_threadpool(_outcome, service, found, place_of(request))


async def _staged(service: Service, file: Spooled, name: str, ignore: list[str], said: dict[str, Any]) -> Upload:
    """Put a file where intake finds it."""
    if not file.size:
        raise AdapterRefused("upload_empty", "the file is empty; send the bytes of a .safetensors file")
    judge_size(file.size, service.settings.max_upload_mb, "max_upload_mb")
    if not await run_in_threadpool(service.profiles.ready):
        raise Unavailable("model_not_ready", "no worker has loaded a model yet, so nothing can be judged; try again")
    left_out = sorted({pattern for pattern in ignore if pattern})
    return await stage(service, "adapter", file.path, file.sha256, file.size, name=name, ignore=left_out, **said)


def judge_text(texts: Mapping[str, str]) -> None:
    """Raise BadRequest for texts that are said of an adapter and cannot be."""
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


def _outcome(service: Service, upload: Upload, place: Place) -> AdapterRecord:
    """The record of what was admitted, or a 202 while it is inspected; raises AdapterRefused."""
    judge_end(upload, AdapterRefused)
    if not upload.status.ended:
        return later(upload, f"/v1/adapters/uploads/{upload.id}")  # type: ignore[return-value]
    return adapter_placed(service.catalog.record(f"{upload.name}:{upload.version}"), place)


@router.post(
    "/uploads/{upload_id}",
    status_code=201,
    responses={200: {"model": AdapterRecord}, 202: {"model": Upload}},
    include_in_schema=False,
)
async def judge_placed(
    upload_id: Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$")],
    said: Placed,
    service: ServiceDep,
    request: Request,
    response: Response,
) -> AdapterRecord:
    """Judge a file that `radiata adapters add FOLDER` has linked into the store of this machine; as an upload is."""
    judge_text({"/description": said.description})
    if said.cover:
        await run_in_threadpool(service.pictures.info, said.cover)
    if not await run_in_threadpool(service.profiles.ready):
        raise Unavailable("model_not_ready", "no worker has loaded a model yet, so nothing can be judged; try again")
    staged = await run_in_threadpool(stage_placed, service, upload_id, **said.model_dump())
    found = await settled(service, staged.id, request.is_disconnected)
    response.status_code = 201 if found.new else 200
    return await run_in_threadpool(_outcome, service, found, place_of(request))


@router.get("/uploads/{upload_id}", responses={202: {"model": Upload}})
def upload_status(upload_id: str, service: ServiceDep, place: Prefix) -> AdapterRecord:
    """The outcome of an upload: 202 while it is inspected, then its record, or 422 with every reason."""
    return _outcome(service, known(service, upload_id, "adapter"), place)


@router.delete("/uploads/{upload_id}", responses=answers({409: "It has been judged already"}))
def cancel_upload(upload_id: str, service: ServiceDep) -> Upload:
    """Cancel an upload that is fetched, waits for its inspection, or is inspected."""
    return service.downloads.cancel(known(service, upload_id, "adapter").id)


@router.get("")
def adapters(service: ServiceDep, place: Prefix) -> AdapterList:
    """Every adapter, newest version each."""
    shown = (ShownAdapter.model_construct(**dict(one)) for one in service.catalog.newest())
    return AdapterList(adapters=[adapter_placed(one, place) for one in shown])


@router.get("/{ref}")
def adapter(ref: Ref, service: ServiceDep, place: Prefix, owner: OwnerQuery = "") -> AdapterRecord:
    """One adapter with its verdict; `name`, `name:version` or `sha256:…`."""
    return adapter_placed(service.catalog.record(_of(owner, ref)), place)


@router.get("/{ref}/file", response_class=Response, responses=documented("application/octet-stream"))
def adapter_file(ref: Ref, service: ServiceDep, request: Request, owner: OwnerQuery = "") -> Response:
    """The file, byte for byte as it was uploaded, or a part of it."""
    version = service.catalog.resolve(_of(owner, ref))
    key = file_key(version.sha256)

    def read(start: int, end: int) -> tuple[int, Iterator[bytes]]:
        if found := service.storage.stream(key, start, end):
            return found
        raise NotFound("file_missing", "the adapter is known, but its file is gone from storage; upload it again")

    size, first = read(0, len(ZIP))
    ending = "zip" if b"".join(first) == ZIP else "safetensors"  # PEFT's folders come zipped
    headers = {
        "Content-Disposition": f'attachment; filename="{version.name}.{ending}"',
        "Cache-Control": "no-cache",  # the same name may mean other bytes tomorrow
    }
    tag = f'"{version.sha256}"'
    return download(request, tag, size, lambda start, end: read(start, end)[1], "application/octet-stream", headers)


def _of(owner: str, ref: str) -> str:
    return f"{owner}/{ref}" if owner else ref


@router.patch("/{name}")
def show(name: Name, said: Shown, service: ServiceDep, place: Prefix) -> AdapterRecord:
    """Say who may use all versions of an adapter; generations that were accepted before are drawn all the same."""
    service.catalog.show_to(name, said.visibility)
    Audit(service.storage).write("adapter.shown", name, service.owner, visibility=said.visibility)
    return adapter_placed(service.catalog.record(name), place)


@router.delete("/{name}", status_code=204)
def delete(name: Name, service: ServiceDep) -> None:
    """Delete an adapter with all its versions; accepted generations still use it."""
    service.catalog.delete(name)
    Audit(service.storage).write("adapter.deleted", name, service.owner)
