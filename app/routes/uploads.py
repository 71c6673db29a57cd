"""Large files, sent in parts that outlive a broken connection: tus 1.0.0, then judged as what is sent whole."""

import secrets
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from fastapi import Path as PathParameter
from fastapi import Request, Response
from pydantic import BaseModel, ValidationError
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool

from app.callers import CALLER, Caller
from app.deps import Service, ServiceDep
from app.http.faults import fault, pointer, refused
from app.http.places import Place, Prefix
from app.http.receiving import judge_size
from app.http.routing import Router
from app.http.tus import EXTENSIONS, VERSION, TusRoute, facts, is_bytes, metadata, number, received
from app.routes.adapters import judge_text
from app.shared.discretion import hide
from app.shared.errors import BadRequest, NotFound, Unavailable
from app.shared.lifecycle import now
from app.shared.resumables import KIND, moved
from app.shared.settings import MIB
from app.shared.text import called
from app.shared.wire.key import Scope
from app.shared.wire.resumable import Receiving, Resumable, ResumableKind
from app.shared.wire.said import AdapterSaid, DatasetSaid
from app.shared.wire.values import Wire

router = Router(prefix="/v1/uploads", include_in_schema=False)
router.route_class = TusRoute

UploadId = Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$")]
S = TypeVar("S", bound=Wire)
SCOPES: Mapping[str, Scope] = {"adapter": "upload", "dataset": "train"}  # kind of a file -> who may send it
OF_CLIENTS = ("filename", "filetype")  # metadata that clients send unasked


class ReceivingList(BaseModel):
    """Files that are not whole."""

    uploads: list[Receiving]


@router.api_route("", methods=["OPTIONS"], status_code=204)
async def options(service: ServiceDep) -> Response:
    """What is spoken here."""
    most = str(max(service.settings.max_upload_mb, service.settings.max_dataset_mb) * MIB)
    return Response(
        status_code=204, headers={"Tus-Version": VERSION, "Tus-Extension": EXTENSIONS, "Tus-Max-Size": most}
    )


@router.post("/adapters", status_code=201)
async def begin_adapter(service: ServiceDep, request: Request, place: Prefix) -> Response:
    """Begin to send an adapter; `Upload-Metadata` says of it what a form's fields say."""
    given = metadata(request)
    if "name" not in given and given.get("filename"):
        given["name"] = called(given["filename"])
    said = _said(AdapterSaid, given | ({"ignore": given["ignore"].splitlines()} if "ignore" in given else {}))
    judge_text({"/description": said.description} | {f"/ignore/{at}": one for at, one in enumerate(said.ignore)})
    if said.cover:
        await run_in_threadpool(service.pictures.info, said.cover)
    if not await run_in_threadpool(service.profiles.ready):
        raise Unavailable("model_not_ready", "no worker has loaded a model yet, so nothing can be judged; try again")
    judge_size(number(request, "Upload-Length"), service.settings.max_upload_mb, "max_upload_mb")
    said = said.model_copy(update={"ignore": sorted(set(said.ignore))})
    return await _begun(service, request, place, "adapter", said)


@router.post("/datasets", status_code=201)
async def begin_dataset(service: ServiceDep, request: Request, place: Prefix) -> Response:
    """Begin to send the zip of a dataset; `Upload-Metadata` says of it what a form's fields say."""
    given = metadata(request)
    hide([given.get("default_caption")])
    said = _said(DatasetSaid, given)
    judge_size(number(request, "Upload-Length"), service.settings.max_dataset_mb, "max_dataset_mb")
    return await _begun(service, request, place, "dataset", said)


@router.get("")
def unfinished(service: ServiceDep, request: Request) -> ReceivingList:
    """Files that are not whole, so that who sent them can go on."""
    found = (one for one in service.resumables.unfinished() if _may_send(request, one.kind))
    return ReceivingList(uploads=[_receiving(one, service.resumables.offset(one.id)) for one in found])


@router.get("/{upload_id}")
def look(upload_id: UploadId, service: ServiceDep, request: Request, response: Response, place: Prefix) -> Receiving:
    """How far a file is (HEAD: in its headers), and once it is whole where is told what becomes of it."""
    try:
        one = _of(service, request, upload_id)
    except NotFound:
        upload = service.uploads.get(upload_id)
        if not _may_send(request, upload.kind):
            raise
        size = str(upload.size_bytes)
        response.headers.update({"Upload-Offset": size, "Upload-Length": size})
        told = {"id": upload_id, "kind": upload.kind, "size_bytes": upload.size_bytes, "offset": upload.size_bytes}
        result = f"{place.prefix}/v1/{upload.kind}s/uploads/{upload_id}"
        return Receiving(**told, status=upload.status, result=result)
    offset = service.resumables.offset(upload_id)
    response.headers.update(facts(one, offset))
    return _receiving(one, offset)


@router.patch("/{upload_id}", status_code=204)
async def go_on(upload_id: UploadId, service: ServiceDep, request: Request) -> Response:
    """Send the next bytes of a file, from where it ends."""
    one = await run_in_threadpool(_of, service, request, upload_id)
    offset = await run_in_threadpool(service.resumables.goes_on_at, upload_id)
    if number(request, "Upload-Offset") != offset:
        raise moved()
    offset = await received(service.resumables, one, offset, request)
    await _put_together(service, one, offset)
    return Response(status_code=204, headers=facts(one, offset))


@router.delete("/{upload_id}", status_code=204)
def terminate(upload_id: UploadId, service: ServiceDep, request: Request) -> Response:
    """Forget a file that is not whole; one that waits to be judged is canceled."""
    try:
        _of(service, request, upload_id)
    except NotFound:
        if not _may_send(request, service.uploads.get(upload_id).kind):
            raise
        service.uploads.cancel(upload_id)
    else:
        service.resumables.forget(upload_id)
    return Response(status_code=204)


async def _begun(
    service: Service, request: Request, place: Place, kind: ResumableKind, said: AdapterSaid | DatasetSaid
) -> Response:
    size = number(request, "Upload-Length")
    if not size:
        raise BadRequest("upload_empty", "the file is empty; send one that has bytes")
    one = Resumable(
        id=secrets.token_hex(16),
        owner=service.owner,
        kind=kind,
        size_bytes=size,
        sha256=said.sha256,
        said=said.model_dump(mode="json", exclude={"sha256"}, exclude_defaults=True),
        created_at=now(),
    )
    await run_in_threadpool(service.limits.upload)
    await run_in_threadpool(service.resumables.begin, one)
    offset = await received(service.resumables, one, 0, request) if is_bytes(request) else 0
    await _put_together(service, one, offset)
    where = {"Location": f"{place.prefix}/v1/uploads/{one.id}"}
    return Response(status_code=201, headers=where | facts(one, offset))


async def _put_together(service: Service, one: Resumable, offset: int) -> None:
    """Have a file that is whole made an upload: by a thread of this process, or of another should this one die."""
    if offset < one.size_bytes:
        return
    try:
        await run_in_threadpool(service.outgoing.put, f"{KIND}:{one.id}")
    except RedisError:  # a look into storage finds it
        return
    service.courier.wake()


def _may_send(request: Request, kind: str) -> bool:
    """Whether whoever asks may send such files in parts: of pictures and maps nobody may."""
    caller: Caller = request.scope[CALLER]
    return kind in SCOPES and SCOPES[kind] in caller.scopes


def _of(service: Service, request: Request, upload_id: str) -> Resumable:
    """A file that is not whole; raises NotFound, also where the key is not for such files, and Unreadable."""
    one = service.resumables.get(upload_id)
    if not _may_send(request, one.kind):
        raise service.resumables.unknown()
    return one


def _receiving(one: Resumable, offset: int) -> Receiving:
    told = one.model_dump(include={"id", "kind", "size_bytes", "sha256", "said"})
    return Receiving(**told, offset=offset, status="receiving")


def _said(kind: type[S], given: dict[str, Any]) -> S:
    """What metadata say of a file; raises BadRequest with all that is wrong with them."""
    try:
        return kind.model_validate({name: value for name, value in given.items() if name not in OF_CLIENTS})
    except ValidationError as error:
        at = ["header", "Upload-Metadata"]
        wrong = [fault(pointer([*at, *one["loc"]]), one["type"], one["msg"]) for one in error.errors(include_url=False)]
        raise refused(wrong) from error
