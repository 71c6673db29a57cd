"""ComfyUI's second API, `/comfy/api/v2`: jobs, their events, and the pictures on both ends."""

import json
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from datetime import datetime, timedelta
from typing import Annotated, Any

from blake3 import blake3
from fastapi import Form, Header, Query, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from app.accepting.fast_acceptance import accept
from app.deps import Service, ServiceDep
from app.faces.comfy.answers import shown
from app.faces.comfy.request import WORD, kept_of, request_of
from app.faces.comfy.routes import meaning_of, picture_sent, told_of
from app.http.faults import refusal
from app.http.places import Place, Prefix
from app.http.routing import Router
from app.http.spool import Spooled
from app.hub import end_of
from app.routes import images
from app.routes.events import EventStream, admitted, seen
from app.routes.images import KINDS
from app.shared.errors import BadRequest, Conflict, NotFound
from app.shared.events import START
from app.shared.generation_keys import image_key
from app.shared.lifecycle import now
from app.shared.pictures import picture_key
from app.shared.previews import DATA_URL, Viewer
from app.shared.wire.generation import Generation, Metadata, Status
from app.shared.wire.picture import REF_PREFIX
from app.shared.wire.values import Wire

router = Router(prefix="/comfy/api/v2", include_in_schema=False)

HERE = "/comfy/api/v2"
DRAWN = re.compile(r"([0-9a-f]{32})-([0-9]{1,4})")
SENT = re.compile(r"[0-9a-f]{64}")
LINK = timedelta(hours=1)  # for which an address is good at least: ours are good for longer, or for ever
KEPT = timedelta(days=3650)  # where nothing is deleted for its age
Key = Annotated[str, Header(min_length=1, max_length=255)]
Word = Annotated[str, Field(max_length=512)]


class JobRequest(Wire):
    """The body of `POST /jobs`."""

    workflow: Any
    extra_data: dict[str, Any] = Field(default={})
    metadata: Metadata = Field(default={})


class FromHash(Wire):
    """The body of `POST /assets/from-hash`."""

    hash: Word
    file_path: Word | None = None
    tags: list[Word] | None = None


@router.post("/jobs", status_code=201)
async def submit(
    body: JobRequest, service: ServiceDep, request: Request, place: Prefix, idempotency_key: Key
) -> Response:
    """Accept a graph as a job; a key that was used is refused, and never answered with what it made."""
    if WORD in body.metadata:
        raise refusal(["metadata", WORD], "metadata_invalid", f"{WORD!r} is a word of this service's own; take another")
    meaning, kept = await meaning_of(service, _without_assets(body.workflow))
    own = service.ledger.id_for(f"comfy v2 {idempotency_key}")
    if await run_in_threadpool(service.ledger.records.either, own):
        message = "this Idempotency-Key made a job before; ask for that, or take a new key"
        raise BadRequest("idempotency_key_reuse", message)
    with told_of(meaning):
        asked = request_of(meaning, body.metadata | kept.written())
        generation = await accept(service, asked, own=own)
    return JSONResponse(await _job(service, generation, request, place), 201)


@router.get("/jobs")
async def jobs(
    service: ServiceDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$")] = None,
) -> Response:
    """Jobs, the newest first."""
    found, more = await service.reading.list(limit, cursor)
    listed = [
        {
            "id": one.generation.id,
            "status": one.generation.status,
            "create_time": one.generation.created_at.isoformat(),
            "update_time": (one.generation.finished_at or one.generation.created_at).isoformat(),
            "metadata": _labels(one.generation),
        }
        for one in found
    ]
    return JSONResponse({"jobs": listed} | ({"next_cursor": more} if more else {}))


@router.get("/jobs/{job_id}")
async def job(job_id: str, service: ServiceDep, request: Request, place: Prefix) -> Response:
    """One job as it stands."""
    return JSONResponse(await _job(service, (await service.reading.get(job_id)).generation, request, place))


@router.post("/jobs/{job_id}/cancel")
async def cancel(job_id: str, service: ServiceDep, request: Request, place: Prefix) -> Response:
    """Cancel a job, unless it has ended."""
    with suppress(Conflict):
        await run_in_threadpool(service.ledger.cancel, job_id)
    return JSONResponse(await _job(service, (await service.reading.get(job_id)).generation, request, place))


@router.get("/jobs/{job_id}/workflow")
async def workflow(job_id: str, service: ServiceDep) -> Response:
    """The graph of a job is not kept."""
    await service.reading.get(job_id)
    raise NotFound("not_found", "the graph of a job is not kept; its recipe is in the PNG")


@router.get("/jobs/{job_id}/events", response_class=EventStream)
async def events(job_id: str, service: ServiceDep, request: Request, place: Prefix) -> EventStream:
    """What happens to a job, up to its end."""
    generation = (await service.reading.get(job_id)).generation
    return EventStream(_frames(service, generation, request, place), admitted(service))


async def _frames(service: Service, one: Generation, request: Request, place: Place) -> AsyncGenerator[bytes]:
    node, viewer = kept_of(one.metadata).sampler, Viewer(service.async_redis, one.id)
    async with aclosing(seen(service.hub.follow(one.id, START, end_of(one)), viewer)) as followed:
        async for some in followed:
            for event in some:
                if event.is_end:
                    ended = (await service.reading.get(one.id)).generation
                    for output in await _outputs(service, ended, request, place):
                        yield _frame("output", output)
                    yield _frame("status", {"status": ended.status})
                    return
                if event.kind == "status":
                    yield _frame("status", {"status": event.data.get("status")})
                elif event.kind == "progress":
                    yield _frame("progress", _progress(one, int(event.data.get("step", 0))))
                elif event.kind == "preview":
                    data = str(event.data["data"]).removeprefix(DATA_URL)
                    yield _frame("preview", {"node_id": node, "content_type": "image/webp", "data_base64": data})
            if not some:
                yield b": still here\n\n"


def _frame(kind: str, said: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(said)}\n\n".encode()


@router.get("/assets/by-hash/{digest}")
def by_hash(digest: str) -> Response:
    """Nothing is known here by its blake3: a file is sent, and kept once, by its pixels."""
    raise NotFound("not_found", f"nothing is known here as {digest[:80]!r}; send the file")


@router.post("/assets/from-hash")
def from_hash(body: FromHash) -> Response:
    """As `by_hash`."""
    raise NotFound("blob_not_found", f"nothing is known here as {body.hash[:80]!r}; send the file")


@router.post("/assets", status_code=201)
async def send(
    file: UploadFile,
    service: ServiceDep,
    request: Request,
    place: Prefix,
    content_type: Annotated[str, Form()],  # noqa: ARG001
    file_path: Annotated[str, Form()],
    expected_hash: Annotated[str, Form()] = "",
    tags: Annotated[list[str], Form()] = [],  # noqa: ARG001, B006
) -> Response:
    """Keep a picture to draw from; what it is said to be says nothing, for its bytes are read.

    Raises BadRequest (`hash_mismatch`) where it is not the file whose blake3 is expected.
    """
    if expected_hash:
        assert isinstance(file, Spooled)
        found = await run_in_threadpool(lambda: f"blake3:{blake3().update_mmap(file.path).hexdigest()}")
        if found != expected_hash.lower():
            await file.close()
            message = f"the file that came is {found}, and not {expected_hash[:80]!r}; send it again"
            raise refusal(["expected_hash"], "hash_mismatch", message)
    digest, size = await picture_sent(service, file, request)
    return JSONResponse(_asset(digest, size, request, place) | {"file_path": file_path}, 201)


@router.get("/assets/{asset_id}")
async def asset(asset_id: str, service: ServiceDep, request: Request, place: Prefix) -> Response:
    """One picture that was sent."""
    size = len(await _file(service, asset_id))
    return JSONResponse(_asset(asset_id, size, request, place))


@router.delete("/assets/{asset_id}", status_code=204)
async def delete(asset_id: str, service: ServiceDep) -> None:
    """Delete a picture that was sent."""
    if not SENT.fullmatch(asset_id):
        raise NotFound("not_found", "there is no such asset; pictures that were drawn go with their generation")
    await run_in_threadpool(images.delete, REF_PREFIX + asset_id, service)


@router.get("/assets/{asset_id}/content")
async def content(asset_id: str, service: ServiceDep) -> Response:
    """The file of a picture, drawn or sent."""
    return Response(await _file(service, asset_id), media_type="application/octet-stream")


async def _file(service: Service, asset_id: str) -> bytes:
    """The bytes of a picture; raises NotFound."""
    data = None
    if drawn := DRAWN.fullmatch(asset_id):
        one = (await service.reading.get(drawn[1])).generation
        key = image_key(one.id, int(drawn[2]), one.request.output_format)
        data = await run_in_threadpool(service.storage.get, key)
    elif SENT.fullmatch(asset_id) and await run_in_threadpool(service.pictures.sees, REF_PREFIX + asset_id):
        data = await run_in_threadpool(service.storage.get, picture_key(REF_PREFIX + asset_id))
    if data is None:
        raise NotFound("not_found", "there is no such asset; ids come with a job's outputs, and with what was sent")
    return data


def _without_assets(graph: Any) -> Any:
    """A graph that names pictures as its first API does."""
    if not isinstance(graph, dict):
        return graph
    for node in graph.values():
        inputs = node.get("inputs") if isinstance(node, dict) else None
        if not isinstance(inputs, dict):  # which is refused where graphs are read
            continue
        for name, value in inputs.items():
            if isinstance(value, dict) and value.get("__type") == "core/ASSET":
                info = value.get("info")
                inputs[name] = f"{info.get('id') if isinstance(info, dict) else ''}.png"
    return graph


async def _job(service: Service, one: Generation, request: Request, place: Place) -> dict[str, Any]:
    days, error = service.settings.keep_days, one.error
    failed = {"code": error.code, "message": error.message} if error else None
    here = place.url(f"{HERE}/jobs/{one.id}")
    return {
        "id": one.id,
        "status": one.status,
        "created_at": _when(one.created_at),
        "started_at": _when(one.started_at),
        "completed_at": _when(one.finished_at),
        "expires_at": _when(one.created_at + (timedelta(days=days) if days else KEPT)),
        "queue_position": one.queue_position,
        "progress": _progress(one, one.progress.step),
        "outputs": await _outputs(service, one, request, place),
        "error": failed and failed | {"node_id": kept_of(one.metadata).sampler, "class_type": "KSampler"},
        "urls": {"self": here, "events": f"{here}/events", "cancel": f"{here}/cancel"},
        "metadata": _labels(one),
    }


async def _outputs(service: Service, one: Generation, request: Request, place: Place) -> list[dict[str, Any]]:
    found = []
    for node, said in shown(one).items() if one.status is Status.SUCCEEDED else ():
        for image, file in zip(one.images, said["images"], strict=True):
            key = image_key(one.id, image.index, one.request.output_format)
            stored = await run_in_threadpool(service.storage.stream, key)
            found.append(
                {
                    "node_id": node,
                    "name": file["filename"],
                    "type": "image",
                    "content_type": KINDS[one.request.output_format],
                    "size_bytes": stored[0] if stored else 0,
                    "id": f"{one.id}-{image.index}",
                    "hash": None,
                    "url": _absolute(request, place.url(image.url)),
                    "url_expires_at": _when(now() + LINK),
                    "job_id": one.id,
                }
            )
    return found


def _progress(one: Generation, step: int) -> dict[str, Any]:
    steps, node = max(one.progress.steps, 1), kept_of(one.metadata).sampler
    told = {"value": min(step / steps, 1.0), "nodes_done": 0, "nodes_total": 1, "current_node": node or None}
    return told | {"step": step, "steps": steps, "message": f"{step}/{steps}"}


def _asset(digest: str, size: int, request: Request, place: Place) -> dict[str, Any]:
    url = _absolute(request, place.url(f"/v1/images/{REF_PREFIX}{digest}"))
    told = {"id": digest, "hash": None, "size_bytes": size, "content_type": "image/png", "created_at": _when(now())}
    return told | {"url": url, "url_expires_at": _when(now() + LINK)}


def _labels(one: Generation) -> dict[str, str]:
    return {word: text for word, text in one.metadata.items() if word != WORD}


def _absolute(request: Request, path: str) -> str:
    return f"{request.url.scheme}://{request.url.netloc}{path}"


def _when(one: datetime | None) -> str | None:
    return one.isoformat() if one else None
