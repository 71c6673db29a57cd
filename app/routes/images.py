"""Pictures, as they were stored."""

import re

from fastapi import Response

from app.deps import ServiceDep
from app.routing import Router
from app.shared.errors import NotFound
from app.shared.ledger import image_key

router = Router(prefix="/v1/images", tags=["images"])

KEY = re.compile(r"([0-9a-f]{32})/([0-9]{1,4})\.png")


@router.get("/{key:path}", response_class=Response, responses={200: {"content": {"image/png": {}}}})
def picture(key: str, service: ServiceDep) -> Response:
    """The PNG of one picture; its bytes never change."""
    match = KEY.fullmatch(key)
    data = service.storage.get(image_key(match[1], int(match[2]))) if match else None
    if data is None:
        raise NotFound("image_unknown", "there is no such picture; urls come with the generation that drew it")
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    return Response(data, media_type="image/png", headers=headers)
