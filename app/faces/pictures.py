"""Pictures as other APIs send them, and those that were drawn as they have them back."""

import re

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from app.deps import Service
from app.http.faults import refusal
from app.http.places import Place
from app.shared.errors import NotFound
from app.shared.generation_keys import image_key
from app.shared.wire.generation import Generation
from app.shared.wire.picture import IN_PATTERN

# How files of pictures begin, as far as base64 shows it -> the type that is said of them
BEGINNINGS = {"iVBORw0KGgo": "png", "/9j/": "jpeg", "UklGR": "webp", "AAAA": "avif"}
BARE = re.compile(r"[A-Za-z0-9+/\s]++={0,2}\s*+")  # possessive: a long one that is none is read once


def kind_of(text: str) -> str | None:
    """What kind of picture bare base64 begins as; None where it begins as none."""
    return next((kind for start, kind in BEGINNINGS.items() if text.startswith(start) and BARE.fullmatch(text)), None)


def picture_in(place: list[str | int], text: str) -> str:
    """Return a picture of another API's request as ours names it: a data URL, a ref, or bare base64.

    Raises BadRequest for anything else.
    """
    if kind := kind_of(text):
        return f"data:image/{kind};base64,{''.join(text.split())}"
    if re.fullmatch(IN_PATTERN, text):
        return text
    message = (
        "send the picture itself, as base64 or a data URL (data:image/png;base64,…), or image:<sha256> of one here"
    )
    raise refusal(place, "image_not_readable", message)


async def file_of(service: Service, generation: Generation, index: int) -> bytes:
    """The file of a picture; raises NotFound."""
    key = image_key(generation.id, index, generation.request.output_format)
    data = await run_in_threadpool(service.storage.get, key)
    if data is None:
        raise NotFound("image_unknown", "this picture was deleted meanwhile; draw it again")
    return data


def origin_of(request: Request) -> str:
    """Scheme and host under which whoever sent a request sees the service, as its proxy says them."""
    return f"{request.url.scheme}://{request.url.netloc}"


def address(request: Request, place: Place, path: str) -> str:
    """The whole address of something of ours, as whoever sent a request finds it."""
    return f"{origin_of(request)}{place.url(path)}"
