"""`/comfy`: graphs drawn, what became of them, and the pictures on both ends."""

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Form, Query, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool

from app.accepting.fast_acceptance import accept
from app.accepting.generations import profile_of
from app.deps import Service, ServiceDep
from app.faces.comfy.answers import number, object_info, past, prompt_id, queued
from app.faces.comfy.graph import Graph
from app.faces.comfy.request import Kept, Meaning, kept_of, replaced, request_of, translated
from app.http.faults import fault, pointer, refusal, refused
from app.http.receiving import judge_end, judge_size, settled, stage
from app.http.routing import Router
from app.http.spool import Spooled
from app.http.strict_json import parse
from app.routes.images import KINDS
from app.shared.discretion import hide
from app.shared.errors import BadRequest, Conflict, Gone, NotFound, PictureRefused, RadiataError, Unavailable
from app.shared.generation_keys import image_key
from app.shared.job import ID
from app.shared.pictures import picture_key
from app.shared.wanted import Wanted
from app.shared.wire.generation import Generation, Status
from app.shared.wire.picture import REF_PREFIX
from app.shared.wire.values import Wire

router = Router(prefix="/comfy", include_in_schema=False)

DRAWN = re.compile(r"([0-9a-f]{32})_([0-9]{5})_\.(png|webp|jpeg)")
SENT = re.compile(r"([0-9a-f]{64})\.png")
LISTED = 100
FITTING = (404, 409, 410)  # statuses of ours that are a wrong prompt there
T = TypeVar("T", bound=Wire)
Word = Annotated[str, Field(max_length=128)]


class Prompt(Wire):
    """The body of `POST /prompt`."""

    prompt: Any = None
    client_id: Word | None = None
    prompt_id: Word | None = None
    extra_data: dict[str, Any] = Field(default={})
    front: bool = False
    number: float | None = None


class QueueChange(Wire):
    """The body of `POST /queue`."""

    delete: list[Word] = Field(default=[])
    clear: bool = False


class Interruption(Wire):
    """The body of `POST /interrupt`; clients send none at all, too."""

    prompt_id: Word | None = None


@router.post("/prompt")
async def prompt(request: Request, service: ServiceDep) -> Response:
    """Accept a graph; what becomes of it the history tells, and the socket."""
    body = _read(Prompt, await request.body())  # clients say no content type
    meaning, kept = await meaning_of(service, body.prompt)
    if body.front or (body.number is not None and body.number < 0):
        meaning.body["priority"] = "high"
    previews = str(body.extra_data.get("preview_method") or "none") not in ("none", "default")
    kept = replace(kept, prompt=body.prompt_id or "", client=body.client_id or "", previews=previews)
    generation = await _accepted(service, meaning, kept)
    told = {"prompt_id": prompt_id(generation), "number": number(generation), "node_errors": {}}
    return JSONResponse(told)


async def _accepted(service: Service, meaning: Meaning, kept: Kept) -> Generation:
    if kept.prompt:
        _judge_id(kept.prompt)
    with told_of(meaning):
        asked = request_of(meaning, kept.written())
        return await accept(service, asked, idempotency_key=_key(kept.prompt) if kept.prompt else None)


async def meaning_of(service: Service, said: Any) -> tuple[Meaning, Kept]:
    """What a graph asks for, and what is kept of it; raises BadRequest."""
    read = partial(translated, components=partial(_components, service))
    meaning, outputs, sampler = await run_in_threadpool(lambda: read(Graph(said)))  # it looks adapters up
    hide([meaning.body["prompt"], meaning.body["negative_prompt"]])
    return meaning, Kept(outputs=tuple(outputs), sampler=sampler)


@contextmanager
def told_of(meaning: Meaning) -> Iterator[None]:
    """What acceptance says against a request is told of the graph: nothing that it names is not found, it is wrong."""
    try:
        yield
    except RadiataError as error:
        replaced(meaning, error)
        if error.status in FITTING:
            raise BadRequest(error.code, error.message, reasons=error.reasons) from error
        raise


@router.get("/history")
async def history(
    service: ServiceDep,
    max_items: Annotated[int, Query(ge=1, le=LISTED)] = LISTED,
    offset: Annotated[int, Query(ge=0, le=0)] = 0,
) -> Response:
    """The newest that have ended, the newest last."""
    found = (await service.reading.list(max_items, None))[0]
    ended = [one.generation for one in reversed(found) if one.generation.status.ended]
    return JSONResponse({prompt_id(one): past(one) for one in ended[offset:]})


@router.get("/history/{prompt}")
async def one_history(prompt: str, service: ServiceDep) -> Response:
    """One that has ended; nothing while it has not, or where there is none."""
    found = await _find(service, prompt)
    ended = found is not None and found.status.ended
    return JSONResponse({prompt: past(found)} if found and ended else {})


@router.get("/queue")
async def queue(service: ServiceDep) -> Response:
    """What is drawn, and what waits."""
    told = {}
    for name, status in (("queue_running", Status.RUNNING), ("queue_pending", Status.QUEUED)):
        told[name] = [queued(one) for one in await _those(service, status)]
    return JSONResponse(told)


@router.post("/queue")
async def change_queue(request: Request, service: ServiceDep) -> Response:
    """Cancel what waits: those that are named, or all that came from here."""
    asked = _read(QueueChange, await request.body())
    named = set(asked.delete)
    for one in await _all_queued(service):
        if prompt_id(one) in named or (asked.clear and kept_of(one.metadata) != Kept()):
            await _cancel(service, one)
    return Response()


@router.post("/interrupt")
async def interrupt(request: Request, service: ServiceDep) -> Response:
    """Cancel what is drawn: the one that is named, or the newest that came from here."""
    asked = _read(Interruption, await request.body() or b"{}")
    running = await _those(service, Status.RUNNING)
    chosen = [one for one in running if asked.prompt_id in (None, prompt_id(one)) and kept_of(one.metadata) != Kept()]
    if chosen:
        await _cancel(service, chosen[-1])
    return Response()


@router.get("/view")
async def view(
    service: ServiceDep,
    filename: str,
    subfolder: str = "",  # noqa: ARG001
    type: str = "output",  # noqa: ARG001
    channel: str = "rgba",
) -> Response:
    """The file of a picture, drawn or sent: its name tells which, whatever folder it is said to lie in."""
    drawn, sent = DRAWN.fullmatch(filename), SENT.fullmatch(filename)
    data, kind = None, "png"
    if drawn and channel == "rgba":
        kind = drawn[3]
        await run_in_threadpool(service.ledger.get, drawn[1])  # as whoever asks sees it
        data = await run_in_threadpool(service.storage.get, image_key(drawn[1], int(drawn[2]), kind))  # type: ignore[arg-type]
    elif sent and channel == "rgba" and await run_in_threadpool(service.pictures.sees, f"{REF_PREFIX}{sent[1]}"):
        data = await run_in_threadpool(service.storage.get, picture_key(f"{REF_PREFIX}{sent[1]}"))
    if data is None:
        raise NotFound("image_unknown", "there is no such picture; names come with a history, and with an upload")
    return Response(data, media_type=KINDS[kind])  # type: ignore[index]


@router.post("/upload/image")
@router.post("/api/upload/image")
async def upload(
    image: UploadFile,
    service: ServiceDep,
    request: Request,
    type: Annotated[str, Form()] = "input",
    subfolder: Annotated[str, Form()] = "",  # noqa: ARG001
    overwrite: Annotated[str, Form()] = "",  # noqa: ARG001
) -> Response:
    """Keep a picture to draw from, under the hash of its pixels, in no folder: its name is in the answer."""
    if type != "input":
        await image.close()
        raise refusal(["type"], "not_obeyed", "pictures are sent to be drawn from: type is input", ["input"])
    digest, _ = await picture_sent(service, image, request)
    return JSONResponse({"name": f"{digest}.png", "subfolder": "", "type": "input"})


async def picture_sent(service: Service, file: UploadFile, request: Request) -> tuple[str, int]:
    """Keep a picture to draw from; the hash of its pixels, and the bytes that were sent.

    Raises PictureRefused, TooLarge, TooMany, and Unavailable where it is not decoded in a moment.
    """
    assert isinstance(file, Spooled)
    try:
        if not file.size:
            raise PictureRefused("image_empty", "the file is empty; send the bytes of a picture")
        judge_size(file.size, service.settings.max_image_mb, "max_image_mb")
        staged = await stage(service, "picture", file.path, file.sha256, file.size)
    finally:
        await file.close()
    found = await settled(service, staged.id, request.is_disconnected)
    judge_end(found, PictureRefused)
    if found.picture is None:
        raise Unavailable("image_not_decoded", "the picture is not decoded yet; send it again in a moment")
    return found.picture.ref.removeprefix(REF_PREFIX), staged.size_bytes


@router.get("/object_info")
def every_node(service: ServiceDep) -> Response:
    """The nodes that are read here."""
    return JSONResponse(object_info(service))


@router.get("/object_info/{kind}")
def one_node(kind: str, service: ServiceDep) -> Response:
    """One of them; nothing where it is not read here."""
    return JSONResponse({name: one for name, one in object_info(service).items() if name == kind})


@router.get("/embeddings")
def embeddings(service: ServiceDep) -> Response:
    """Adapters that are embeddings."""
    return JSONResponse([one.name for one in service.catalog.newest() if one.kind == "embedding"])


@router.get("/system_stats")
def system_stats(service: ServiceDep) -> Response:
    """What draws here, as far as this face tells."""
    system = {"os": platform.system().lower(), "python_version": platform.python_version(), "embedded_python": False}
    system |= {"comfyui_version": f"radiata {version('radiata')}", "pytorch_version": "", "argv": []}
    memory = dict.fromkeys(("ram_total", "ram_free"), 0)
    devices = [
        {"name": one.device, "type": one.device, "index": at}
        | dict.fromkeys(("vram_total", "vram_free", "torch_vram_total", "torch_vram_free"), 0)
        for at, one in enumerate(service.profiles.ready())
    ]
    return JSONResponse({"system": system | memory, "devices": devices})


def _components(service: Service, base: str, ref: str) -> list[str]:
    """The components that an adapter changes; none of one that is not there, which acceptance says."""
    try:
        found = service.catalog.resolve(ref)
        return found.components_of.get(profile_of(service, base).name, found.components)
    except (NotFound, Gone):
        return []


async def _find(service: Service, prompt: str) -> Generation | None:
    own = prompt if ID.fullmatch(prompt) else service.ledger.id_for(_key(prompt))
    try:
        found = (await service.reading.get(own)).generation
    except (NotFound, Gone):
        return None
    return found if prompt_id(found) == prompt else None


async def _those(service: Service, status: Status) -> list[Generation]:
    """What stands so, the oldest first."""
    found = (await service.reading.list(LISTED, None, Wanted(status=status)))[0]
    return [one.generation for one in reversed(found)]


async def _all_queued(service: Service) -> list[Generation]:
    """All that wait, however many."""
    queued: list[Generation] = []
    cursor: str | None = None
    while True:
        found, cursor = await service.reading.list(LISTED, cursor, Wanted(status=Status.QUEUED))
        queued += [one.generation for one in found]
        if cursor is None:
            return queued


async def _cancel(service: Service, one: Generation) -> None:
    with suppress(Conflict):  # it has ended meanwhile
        await run_in_threadpool(service.ledger.cancel, one.id)


def _key(prompt: str) -> str:
    return f"comfy {prompt}"


def _judge_id(prompt: str) -> None:
    try:
        UUID(prompt)
    except ValueError:
        raise refusal(["prompt_id"], "invalid_prompt", "prompt_id is a UUID; leave it out to be given one") from None
    if ID.fullmatch(prompt):
        raise refusal(["prompt_id"], "invalid_prompt", "prompt_id is a UUID with its dashes; or leave it out")


def _read(kind: type[T], body: bytes) -> T:
    """The body of a request, which is JSON whatever it says that it is; raises BadRequest."""
    try:
        return kind.model_validate(parse(body))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise refused([fault(pointer(one["loc"]), one["type"], one["msg"]) for one in found]) from error
