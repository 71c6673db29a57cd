"""Pictures that clients of A1111's API send beside a drawing: read, and made into maps, by intake."""

import asyncio
import binascii
from base64 import b64decode, b64encode

from starlette.concurrency import run_in_threadpool

from app.accepting.judging_maps import wanted
from app.deps import Service
from app.faces.a1111.request import data_url
from app.http.faults import refusal
from app.http.receiving import judge_end, judge_size, settled, stage_bytes
from app.shared.errors import PictureRefused, Unavailable
from app.shared.pictures import picture_key
from app.shared.wire.map import MapRequest
from app.shared.wire.recipe import Written
from app.shared.wire.upload import Upload, UploadKind


async def written_in(service: Service, picture: str) -> Written:
    """Return what a picture says of how it was made; raise PictureRefused, or Unavailable."""
    found = await _settled(service, "recipe", _bytes(service, picture, "image"))
    return found.written or Written()


async def map_of(service: Service, picture: str, asked: MapRequest, field: str) -> str:
    """Return the map of a picture, in base64; raise PictureRefused, BadRequest, or Unavailable."""
    sent = await _settled(service, "picture", _bytes(service, picture, field))
    assert sent.picture
    task = wanted(asked, sent.picture, service.settings).model_dump_json().encode()
    made = await _settled(service, "map", task)
    assert made.picture
    data = await run_in_threadpool(service.storage.get, picture_key(made.picture.ref))
    if data is None:
        raise Unavailable("image_not_kept", "the map was deleted meanwhile; ask again")
    return b64encode(data).decode()


async def _settled(service: Service, kind: UploadKind, data: bytes) -> Upload:
    staged = await stage_bytes(service, kind, data)
    found = await settled(service, staged.id, _stays)
    judge_end(found, PictureRefused)
    if not found.status.ended:
        raise Unavailable("image_not_decoded", "the picture is not read yet; ask again in a moment")
    return found


def _bytes(service: Service, picture: str, field: str) -> bytes:
    try:
        data = b64decode(data_url(picture).partition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        message = "it is not whole base64; four characters stand for three bytes"
        raise refusal([field], "image_not_readable", message) from None
    if not data:
        raise refusal([field], "image_empty", "it is empty; send the bytes of a picture in base64")
    judge_size(len(data), service.settings.max_image_mb, "max_image_mb")
    return data


async def _stays() -> bool:
    await asyncio.sleep(0)
    return False
