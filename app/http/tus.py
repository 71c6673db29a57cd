"""What every request and answer of the tus protocol 1.0.0 (https://tus.io) has: its version, and facts in headers."""

import base64
from collections.abc import Callable, Coroutine
from email.utils import format_datetime
from typing import Any

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from app.http.errors import radiata
from app.http.faults import refusal
from app.http.routing import StrictRoute
from app.shared.errors import RadiataError, TooLarge, WrongType, WrongVersion
from app.shared.resumables import Resumables
from app.shared.settings import MIB
from app.shared.wire.resumable import Resumable

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,expiration,termination"
BYTES = "application/offset+octet-stream"
PART = 8 * MIB  # that is kept at once: what a process that dies costs
ALWAYS = {"Tus-Resumable": VERSION, "Cache-Control": "no-store"}
LONGEST = 15  # digits of a number


class TusRoute(StrictRoute):
    """A route that speaks one version, and says which in every answer, refusals too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                said = request.headers.get("tus-resumable")
                if said != VERSION and not (said is None and request.method in ("GET", "OPTIONS")):
                    message = f"this service speaks version {VERSION} of tus; say it in Tus-Resumable"
                    raise WrongVersion("tus_version", message)
                response = await answer(request)
            except RadiataError as error:
                response = await radiata(request, error)
                response.headers["Tus-Version"] = VERSION
            response.headers.update(ALWAYS)
            return response

        return handle


def number(request: Request, header: str) -> int:
    """A number that a header says; raises BadRequest."""
    said = request.headers.get(header, "")
    if not (said.isascii() and said.isdecimal() and len(said) <= LONGEST):
        raise refusal(["header", header], "not_a_number", f"{header} is a number of bytes, and has to be there")
    return int(said)


def metadata(request: Request) -> dict[str, str]:
    """What `Upload-Metadata` says: names, each with a value in base64; raises BadRequest."""
    found: dict[str, str] = {}
    for pair in filter(None, (one.strip() for one in request.headers.get("Upload-Metadata", "").split(","))):
        name, _, value = pair.partition(" ")
        try:
            text = base64.b64decode(value, validate=True).decode()
        except ValueError as error:  # no ASCII, no base64, or no UTF-8
            message = f"the value of {name[:80]!r} is no base64 of UTF-8; write name and value so"
            raise refusal(["header", "Upload-Metadata"], "metadata_unreadable", message) from error
        if name in found:
            raise refusal(["header", "Upload-Metadata"], "said_twice", f"{name[:80]!r} is said twice; say it once")
        found[name] = text
    return found


def is_bytes(request: Request) -> bool:
    """Whether a request brings bytes of a file."""
    return request.headers.get("content-type", "").lower() == BYTES


def facts(one: Resumable, offset: int) -> dict[str, str]:
    """The headers that tell of a file that is not whole."""
    expires = format_datetime(one.expires_at.replace(microsecond=0), usegmt=True)
    return {"Upload-Offset": str(offset), "Upload-Length": str(one.size_bytes), "Upload-Expires": expires}


async def received(resumables: Resumables, one: Resumable, offset: int, request: Request) -> int:
    """Keep the bytes of a request from an offset on, and return where they end.

    What came is kept when the connection breaks. Raises WrongType, TooLarge, and Conflict where another request was
    first.
    """
    if not is_bytes(request):
        raise WrongType("not_bytes", f"the body is a part of a file; send it with Content-Type: {BYTES}")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and offset + int(declared) > one.size_bytes:
        raise _over(one)
    held = bytearray()

    async def keep(size: int) -> None:
        nonlocal offset
        await resumables.take(one.id, offset, bytes(held[:size]))
        del held[:size]
        offset += size

    try:
        async for data in request.stream():
            held += data
            if offset + len(held) > one.size_bytes:
                raise _over(one)
            while len(held) >= PART:
                await keep(PART)
    except ClientDisconnect:
        if held:
            await keep(len(held))
        raise
    if held:
        await keep(len(held))
    return offset


def _over(one: Resumable) -> TooLarge:
    return TooLarge("upload_too_large", f"the file was said to have {one.size_bytes} bytes, and this goes beyond them")
