"""The page, and the files it is made of.

The files lie below a path that is a hash of them all, and may be kept for ever: another version has another path. Their
imports of each other are relative, so they stay within one version. The page itself is asked for anew each time.
"""

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from mimetypes import guess_type
from pathlib import Path

from fastapi import APIRouter, Request, Response

from app.http.conditional import not_modified
from app.shared.errors import NotFound

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parent.parent / "web"
INDEX = "index.html"
HASH_DIGITS = 16
OWN = re.compile(r'(?<==")static/')
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Site:
    """The page with its links filled in, and its files by name, as they were when the service started."""

    version: str
    index: bytes
    files: dict[str, bytes]


@cache
def site() -> Site:
    """Read the files."""
    files = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.is_file()}
    version = sha256(b"".join(name.encode() + b"\0" + data for name, data in files.items())).hexdigest()[:HASH_DIGITS]
    page = OWN.sub(f"static/{version}/", files.pop(INDEX).decode())
    modules = [name for name in files if name.endswith(".js")]
    preloads = "".join(f'  <link rel="modulepreload" href="static/{version}/{name}">\n' for name in modules)
    return Site(version, page.replace("</head>", f"{preloads}</head>").encode(), files)


@router.get("/")
async def page(request: Request) -> Response:
    """The page."""
    headers = {"ETag": f'"{site().version}"', "Cache-Control": "no-cache"}
    if not_modified(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(site().index, media_type="text/html; charset=utf-8", headers=headers)


@router.get("/static/{version}/{name}")
async def static(version: str, name: str) -> Response:
    """A file of the page."""
    data = site().files.get(name) if version == site().version else None
    if data is None:
        raise NotFound("not_found", "there is no such file in this version of the page; load it again")
    kind = TYPES.get(Path(name).suffix) or guess_type(name)[0] or "application/octet-stream"
    return Response(data, media_type=kind, headers={"Cache-Control": FOR_EVER})
