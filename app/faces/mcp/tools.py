"""What the tools take, who may use them, and what they do: a line for each in `TOOLS`."""

import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NamedTuple

from mcp.types import CallToolResult, TextContent, ToolAnnotations
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from app.accepting.batches import accept_all
from app.accepting.fast_acceptance import accept
from app.accepting.generations import profile_of
from app.deps import Service
from app.faces.mcp.drawing import Asked, drawn
from app.faces.mcp.pictures import shown
from app.http.places import adapter_placed, placed
from app.shared.wire.adapter import AdapterUse, ShownAdapter
from app.shared.wire.batch import Batch
from app.shared.wire.generation import GenerationRequest
from app.shared.wire.key import Scope
from app.shared.wire.values import Name, OwnedRef, Whole, Wire

MOST_LISTED = 200
MOST_COMPARED = 12  # adapters; a picture of each stands in one answer


class Compared(GenerationRequest):
    """One prompt, drawn with each of several adapters."""

    adapters: list[AdapterUse] = Field(
        min_length=1, max_length=MOST_COMPARED, description="each is drawn with by itself"
    )
    plain: bool = Field(True, description="whether it is drawn without any adapter too")


class Listed(Wire):
    """Which adapters are listed."""

    model: Name | None = Field(None, description="only those that fit this model; null is any")
    words: str | None = Field(None, max_length=200, description="only those with this in their name or description")
    limit: Annotated[Whole, Field(ge=1, le=MOST_LISTED)] = 50


class Inspected(Wire):
    """Which adapter is looked at."""

    ref: OwnedRef = Field(description="`name`, `name:version`, `owner/name` or `sha256:<64 hex>`")


async def draw(asked: Asked, request: GenerationRequest) -> CallToolResult:
    """Draw, and answer the pictures."""
    generation = await accept(asked.service, request)
    (ended,) = await drawn(asked, [generation])
    record = placed(ended, asked.place).model_dump(mode="json")
    return CallToolResult(content=await shown(asked.service, ended), structured_content=record)


async def compare(asked: Asked, compared: Compared) -> CallToolResult:
    """Draw the same with each adapter, and answer the pictures with what they were drawn with."""
    said = compared.model_dump(exclude_unset=True, exclude={"plain", "adapters"})
    said["seed"] = secrets.randbelow(2**32) if compared.seed is None else compared.seed
    stacks = [[], *([one] for one in compared.adapters)] if compared.plain else [[one] for one in compared.adapters]
    requests = [GenerationRequest.model_validate(said | {"adapters": stack}) for stack in stacks]
    ended = await drawn(asked, await accept_all(asked.service, Batch(requests=requests), None))
    content: list[Any] = []
    for one in ended:
        content += await shown(asked.service, one)
    records = [placed(one, asked.place).model_dump(mode="json") for one in ended]
    return CallToolResult(content=content, structured_content={"generations": records})


async def list_adapters(asked: Asked, listed: Listed) -> CallToolResult:
    """List adapters that can be drawn with."""
    found = await run_in_threadpool(_listed, asked.service, listed)
    lines = [f"{one.name} ({one.kind}, for {', '.join(one.fits)}) {one.description}".strip() for one in found]
    more = len(found) - listed.limit
    if more > 0:
        lines[listed.limit :] = [f"and {more} more: ask for words, or a model, or a larger limit"]
    told = [adapter_placed(ShownAdapter.model_construct(**dict(one)), asked.place) for one in found[: listed.limit]]
    records = {"adapters": [one.model_dump(mode="json") for one in told], "more": max(more, 0)}
    text = "\n".join(lines) or "there is no such adapter here"
    return CallToolResult(content=[TextContent(text=text)], structured_content=records)


async def inspect(asked: Asked, inspected: Inspected) -> CallToolResult:
    """Tell all that is known of an adapter."""
    record = adapter_placed(await run_in_threadpool(asked.service.catalog.record, inspected.ref), asked.place)
    text = record.model_dump_json(indent=1, exclude={"verdicts"})
    return CallToolResult(content=[TextContent(text=text)], structured_content=record.model_dump(mode="json"))


def _listed(service: Service, listed: Listed) -> list[Any]:
    if listed.model is not None:
        profile_of(service, listed.model)  # says which models there are, where this is none
    words = (listed.words or "").casefold()
    return [
        one
        for one in service.catalog.newest()
        if (listed.model is None or listed.model in one.fits)
        and (words in one.name.casefold() or words in one.description.casefold())
    ]


class Tool(NamedTuple):
    """A tool: what is told of it, what it takes, and what it does."""

    about: str
    takes: type[BaseModel]
    scope: Scope | None  # that a key needs for it; None: any
    run: Callable[[Asked, Any], Awaitable[CallToolResult]]
    hints: ToolAnnotations


LOOKS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
DRAWS = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
TOOLS: dict[str, Tool] = {
    "draw": Tool(
        "Draw pictures of a prompt, with any adapters (list_adapters tells which there are). Answers the pictures, and "
        "links by which they can be read again.",
        GenerationRequest,
        "draw",
        draw,
        DRAWS,
    ),
    "compare": Tool(
        "Draw one prompt with each of several adapters by itself, and without any, all with the same seed.",
        Compared,
        "draw",
        compare,
        DRAWS,
    ),
    "list_adapters": Tool("List the adapters that pictures can be drawn with.", Listed, None, list_adapters, LOOKS),
    "inspect": Tool(
        "Tell what an adapter is: its algorithms, which parts of which models it changes, its versions.",
        Inspected,
        None,
        inspect,
        LOOKS,
    ),
}
