"""Pictures, as they were stored."""

import re
from hashlib import sha256

from fastapi import Request, Response

from app.deps import ServiceDep
from app.downloads import documented, download
from app.routing import Router
from app.shared.errors import NotFound
from app.shared.generations import image_key

router = Router(prefix="/v1/images", tags=["images"])

KEY = re.compile(r"([0-9a-f]{32})/([0-9]{1,4})\.png")


@router.get("/{key:path}", response_class=Response, responses=documented("image/png"))
def picture(key: str, service: ServiceDep, request: Request) -> Response:
    """The PNG of one picture, or a part of it; its bytes never change."""
    match = KEY.fullmatch(key)
    data = service.storage.get(image_key(match[1], int(match[2]))) if match else None
    if data is None:
        raise NotFound("image_unknown", "there is no such picture; urls come with the generation that drew it")
    tag = f'"{sha256(data).hexdigest()}"'
    return download(request, tag, len(data), lambda start, end: iter([data[start:end]]), "image/png")
