"""Pictures as MCP has them: in an answer, and as resources `radiata://images/<generation>/<n>.png`."""

import re
from base64 import b64encode
from typing import Any

from mcp.types import BlobResourceContents, ImageContent, Resource, ResourceLink, TextContent
from starlette.concurrency import run_in_threadpool

from app.deps import Service
from app.faces.pictures import file_of
from app.routes.images import DRAWN, KINDS
from app.shared.errors import NotFound
from app.shared.wire.generation import Generation, Image, Status

SCHEME = "radiata://images/"
TEMPLATE = f"{SCHEME}{{generation}}/{{file}}"
PAGE = 50  # generations
NAME = 60  # characters of a prompt


async def shown(service: Service, generation: Generation) -> list[Any]:
    """Each picture of a generation with a sentence before and a link behind it."""
    asked = generation.request
    adapters = ", ".join(f"{one.name} at {one.strength:g}" for one in asked.adapters) or "no adapter"
    content: list[Any] = []
    for image in generation.images:
        data = await file_of(service, generation, image.index)
        size = f"{image.width}×{image.height}"
        content.append(TextContent(text=f"{asked.model} with {adapters}, {size}, seed {image.seed}:"))
        content.append(ImageContent(data=b64encode(data).decode(), mime_type=KINDS[asked.output_format]))
        content.append(ResourceLink(**_facts(generation, image), size=len(data)))
    return content


async def listed(service: Service, before: str | None) -> tuple[list[Resource], str | None]:
    """The newest pictures of whoever asks, older than a cursor, and the next cursor; raises NotFound for no cursor."""
    found, cursor = await run_in_threadpool(service.ledger.list, PAGE, before)
    drawn = [one for one in found if one.status is Status.SUCCEEDED]
    return [Resource(**_facts(one, image)) for one in drawn for image in one.images], cursor


async def read(service: Service, uri: str) -> BlobResourceContents:
    """The file behind the address of a picture; raises NotFound."""
    key = re.fullmatch(f"{re.escape(SCHEME)}(.*)", uri)
    drawn = DRAWN.fullmatch(key[1]) if key else None
    if drawn is None:
        raise NotFound("image_unknown", f"pictures are {TEMPLATE}, as draw and compare answer them")
    generation = (await service.reading.get(drawn[1])).generation  # whose it is not is told that there is none
    written = generation.request.output_format
    if written != drawn[3]:
        raise NotFound("image_unknown", f"this picture is a {written}, and no {drawn[3]}")
    data = await file_of(service, generation, int(drawn[2]))
    return BlobResourceContents(uri=uri, mime_type=KINDS[written], blob=b64encode(data).decode())


def _facts(generation: Generation, image: Image) -> dict[str, Any]:
    written = generation.request.output_format
    return {
        "uri": f"{SCHEME}{generation.id}/{image.index}.{written}",
        "name": f"{generation.request.prompt[:NAME]} ({image.seed})",
        "mime_type": KINDS[written],
    }
