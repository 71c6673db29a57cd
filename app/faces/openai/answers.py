"""What answers and events say of a generation's pictures."""

from base64 import b64encode
from typing import Any

from starlette.concurrency import run_in_threadpool

from app.deps import Service
from app.shared.errors import NotFound
from app.shared.generation_keys import image_key
from app.shared.wire.generation import Generation

NO_TOKENS: dict[str, Any] = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}


def facts(generation: Generation) -> dict[str, Any]:
    """What an answer says of the pictures, and each event of a stream too."""
    request = generation.request
    said = {"background": "opaque", "output_format": request.output_format, "quality": "auto"}
    return said | {"size": f"{request.width}x{request.height}"}


async def file_of(service: Service, generation: Generation, index: int) -> str:
    """The file of a picture, as base64."""
    key = image_key(generation.id, index, generation.request.output_format)
    data = await run_in_threadpool(service.storage.get, key)
    if data is None:
        raise NotFound("image_unknown", "this picture was deleted meanwhile; draw it again")
    return b64encode(data).decode()
