"""Pictures: those that requests draw from, and those that were drawn."""

import re
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Annotated, cast, get_args

from fastapi import Header, Request, Response, UploadFile
from fastapi import Path as PathParameter
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from app.accepting.judging_maps import wanted
from app.deps import Service, ServiceDep
from app.http.downloads import documented, download
from app.http.receiving import at_once, judge_end, judge_size, known, later, settled, stage, stage_bytes
from app.http.routing import SIGNED_ADDRESS, Router, answers
from app.http.spool import Spooled
from app.shared.errors import Conflict, Gone, NotFound, PictureRefused, Unreadable
from app.shared.generation_keys import image_key
from app.shared.pictures import StoredPicture, picture_key
from app.shared.wire.adapter import AdapterVersion
from app.shared.wire.generation import OutputFormat
from app.shared.wire.map import MapRequest
from app.shared.wire.picture import REF_PATTERN
from app.shared.wire.upload import Upload, UploadStatus

router = Router(prefix="/v1/images", tags=["images"])

DRAWN = re.compile(rf"([0-9a-f]{{32}})/([0-9]{{1,4}})\.({'|'.join(get_args(OutputFormat))})")

LINE_BREAK = {405: "The address has a line break in it, and is no picture's"}
KINDS: dict[OutputFormat, str] = {one: f"image/{one}" for one in get_args(OutputFormat)}


class ReceivedPicture(StoredPicture):
    """A picture that requests can name now."""

    notes: list[str] = Field([], description="what was made of the file that its sender may not expect")


class WaitingPicture(BaseModel):
    """A picture that waits to be decoded, or a map that waits to be made."""

    id: str
    status: UploadStatus


@router.post(
    "",
    status_code=201,
    responses={
        200: {"model": ReceivedPicture},
        202: {"model": WaitingPicture},
        **answers({507: "There is no room for the file"}),
    },
)
async def upload(
    file: UploadFile,
    service: ServiceDep,
    request: Request,
    response: Response,
    prefer: Annotated[str | None, Header(description="`respond-async`: answer 202, wait for no decoding")] = None,
) -> ReceivedPicture:
    """Upload a picture to draw from: 201 with its ref, 200 if its pixels were there, 202 if decoding takes longer.

    PNG, JPEG, WebP or AVIF. Its pixels are kept as 8-bit sRGB, turned upright; the ref is their hash, so the same
    picture in another file is the same ref.
    """
    assert isinstance(file, Spooled)
    try:
        if not file.size:
            raise PictureRefused("image_empty", "the file is empty; send the bytes of a picture")
        judge_size(file.size, service.settings.max_image_mb, "max_image_mb")
        staged = await stage(service, "picture", file.path, file.sha256, file.size)
    finally:
        await file.close()
    return await _received(service, staged, prefer, request, response)


@router.post(
    "/{ref}/preprocess",
    status_code=201,
    responses={
        200: {"model": ReceivedPicture},
        202: {"model": WaitingPicture},
        **answers({507: "There is no room for the map"}),
    },
)
async def preprocess(
    ref: Annotated[str, PathParameter(pattern=REF_PATTERN)],
    asked: MapRequest,
    service: ServiceDep,
    request: Request,
    response: Response,
    prefer: Annotated[str | None, Header(description="`respond-async`: answer 202, wait for no map")] = None,
) -> ReceivedPicture:
    """Make the map of a picture that an adapter's `preprocess` would make, and keep it: 201 with its ref, 200, or 202.

    It is the same to the bit at the size and with the `fit` of the drawing, so it shows what a control net will read.
    """
    picture = await run_in_threadpool(service.pictures.info, ref)
    staged = await stage_bytes(service, "map", wanted(asked, picture, service.settings).model_dump_json().encode())
    return await _received(service, staged, prefer, request, response)


@router.get("/uploads/{upload_id}", responses={202: {"model": WaitingPicture}})
def upload_status(upload_id: str, service: ServiceDep) -> ReceivedPicture:
    """The outcome of an upload or of a map: 202 while it waits, then its ref, or 422 with the reason."""
    return _outcome(known(service, upload_id, "picture", "map"))


@router.get(
    "/{key:path}",
    response_class=Response,
    responses=documented(*KINDS.values()) | answers(LINE_BREAK),
    dependencies=[SIGNED_ADDRESS],
)
def picture(key: str, service: ServiceDep, request: Request) -> Response:
    """The file of one picture, drawn (`<generation>/<n>.png`) or sent (`image:<64 hex>`); its bytes never change."""
    drawn, sent = DRAWN.fullmatch(key), re.fullmatch(REF_PATTERN, key)
    written = cast(OutputFormat, drawn[3]) if drawn else "png"
    found = image_key(drawn[1], int(drawn[2]), written) if drawn else picture_key(key) if sent else None
    data = service.storage.get(found) if found and _is_seen(service, key, drawn) else None
    if data is None:
        if drawn:
            with suppress(NotFound, Unreadable):  # one that was deleted is told so, as long as it is told of the whole
                service.ledger.known(drawn[1])
        raise NotFound(
            "image_unknown",
            "there is no such picture; urls come with the generation that drew it, refs from `POST /v1/images`",
        )
    tag = f'"{sha256(data).hexdigest()}"'
    return download(request, tag, len(data), lambda start, end: iter([data[start:end]]), KINDS[written])


@router.delete("/{ref}", status_code=204, responses=answers({409: "A dataset or an adapter of yours shows it"}))
def delete(ref: Annotated[str, PathParameter(pattern=REF_PATTERN)], service: ServiceDep) -> None:
    """Delete a picture that was sent, or a map: what was accepted with it is drawn all the same."""
    service.pictures.known(ref)
    if shows := _shown_by(service, ref):
        raise Conflict("image_needed", f"{shows} shows this picture; delete that first")
    service.pictures.remove(ref)


def _shown_by(service: Service, ref: str) -> str | None:
    """What else than a request shows a picture of whoever asks."""
    for one in service.datasets.refs():
        with suppress(NotFound, Unreadable):
            if any(picture.ref == ref for picture in service.datasets.get(one).pictures):
                return f"dataset {one!r}"
    mine = (one for one in service.catalog.newest() if one.owner == service.owner)
    shows = (one for newest in mine for one in _versions(service, newest) if one.cover == ref)
    return next((f"adapter '{one.name}:{one.version}'" for one in shows), None)


def _versions(service: Service, newest: AdapterVersion) -> Iterator[AdapterVersion]:
    """Every version of a name, but for those that cannot be read."""
    yield newest
    numbers = list[int]()
    with suppress(NotFound, Gone, Unreadable):
        numbers = service.catalog.record(newest.name).versions
    for number in numbers:
        with suppress(NotFound, Gone, Unreadable):
            yield service.catalog.resolve(f"{newest.name}:{number}")


def _is_seen(service: Service, key: str, drawn: re.Match[str] | None) -> bool:
    """Whether whoever asks may see a picture, if there is one."""
    if drawn is None:
        return service.pictures.sees(key)
    if service.asker is None:
        return True
    try:
        service.ledger.get(drawn[1])
    except NotFound:
        return False
    return True


async def _received(
    service: Service, staged: Upload, prefer: str | None, request: Request, response: Response
) -> ReceivedPicture:
    """The outcome of what was staged, waited for unless its sender prefers not to."""
    found = staged if at_once(prefer) else await settled(service, staged.id, request.is_disconnected)
    answer = _outcome(found)
    if isinstance(answer, ReceivedPicture):
        response.status_code = 201 if found.new else 200
        response.headers["Location"] = f"/v1/images/{answer.ref}"
    return answer


def _outcome(upload: Upload) -> ReceivedPicture:
    """What requests can name now, or a 202 while it is decoded or made; raises PictureRefused."""
    judge_end(upload, PictureRefused)
    if upload.picture is None:
        waiting = WaitingPicture(id=upload.id, status=upload.status)
        return later(waiting, f"/v1/images/uploads/{upload.id}")  # type: ignore[return-value]
    return ReceivedPicture(**upload.picture.model_dump(), notes=upload.notes)
