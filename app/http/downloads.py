"""Stored bytes on their way out: whole, in part, or not at all where the client has them already."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastapi import Request, Response
from starlette.responses import StreamingResponse

from app.http.conditional import OutOfRange, not_modified, part_of
from app.http.errors import problem
from app.http.routing import answers
from app.middleware.head import BODILESS

FOR_EVER = "private, max-age=31536000, immutable"


def documented(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """The answers of such a route, as FastAPI's `responses` has it."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}
    return {
        200: {"content": content},
        206: {"description": "The part that Range names", "content": content},
        304: {"description": "The client has these bytes already"},
        **answers({416: "There is nothing in that range"}),
    }


def download(
    request: Request,
    tag: str,
    size: int,
    read: Callable[[int, int], Iterator[bytes]],
    kind: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Answer with bytes that never change under their tag (a quoted word): 200, 206, 304 or 416.

    read: gives them from a start up to an end.
    """
    known = {"ETag": tag, "Accept-Ranges": "bytes", "Cache-Control": FOR_EVER, **(headers or {})}
    if not_modified(request, tag):
        return Response(status_code=304, headers=known)
    try:
        part = part_of(request, tag, size)
    except OutOfRange:
        detail = f"there are {size} bytes; ask for some of them"
        return problem(
            416, "out_of_range", "Range not satisfiable", detail, headers={"Content-Range": f"bytes */{size}"}
        )
    start, end = part or (0, size)
    known["Content-Length"] = str(end - start)
    if part:
        known["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    status = 206 if part else 200
    if request.scope.get(BODILESS):
        return Response(None, status, known, kind)
    return StreamingResponse(read(start, end), status, known, kind)
