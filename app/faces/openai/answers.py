"""What answers and events say of a generation's pictures."""

from base64 import b64encode
from typing import Any

from app.deps import Service
from app.faces import pictures
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
    """The file of a picture, as base64; raises NotFound."""
    return b64encode(await pictures.file_of(service, generation, index)).decode()
