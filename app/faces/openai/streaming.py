"""`stream: true`: partial images while it is drawn, each picture as it is stored, and the end."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio

from app.deps import Service, Ticket
from app.faces.openai.answers import NO_TOKENS, facts, file_of
from app.faces.openai.errors import error_of
from app.faces.waiting import canceled, judge
from app.hub import end_of
from app.routes.events import EventStream, seen
from app.shared.errors import RadiataError
from app.shared.events import START, Event
from app.shared.previews import DATA_URL, Viewer
from app.shared.wire.generation import Generation


def streamed(service: Service, generation: Generation, partials: int, kind: str, ticket: Ticket) -> EventStream:
    """Answer with the events of a generation; partials: how many partial images of each picture, at most.

    kind: what they are of: `image_generation`, or `image_edit`.
    """
    return EventStream(_frames(service, generation, partials, kind), ticket)


async def _frames(service: Service, generation: Generation, partials: int, kind: str) -> AsyncGenerator[bytes]:
    viewer = Viewer(service.async_redis, generation.id) if partials else None
    share = generation.progress.steps / generation.request.count / (partials + 1)  # of the steps between two of them
    shown = dict.fromkeys(range(generation.request.count), 0)
    over = False
    try:
        async with aclosing(seen(service.hub.follow(generation.id, START, end_of(generation)), viewer)) as followed:
            async for events in followed:
                for event in events:
                    index = int(event.data.get("index", 0))
                    steps = int(event.data.get("step", 0)) - index * generation.progress.steps / len(shown)
                    if event.kind == "preview" and shown[index] < partials and steps >= share * (shown[index] + 1):
                        yield _partial(generation, event, shown[index], kind)
                        shown[index] += 1
                if events and events[-1].is_end:
                    over = True
                    async for frame in _end(service, generation, kind):
                        yield frame
                    return
                if not events:
                    yield b": still here\n\n"
    finally:
        if not over:
            with anyio.CancelScope(shield=True):
                await canceled(service, generation)


async def _end(service: Service, generation: Generation, kind: str) -> AsyncGenerator[bytes]:
    try:
        ended = (await service.reading.get(generation.id)).generation
        judge(ended)
        for index in range(len(ended.images)):
            picture = await file_of(service, ended, index)
            yield _frame(f"{kind}.completed", facts(ended) | _now(ended) | {"b64_json": picture, "usage": NO_TOKENS})
    except RadiataError as error:
        told = error_of({"code": error.code, "status": error.status, "detail": error.message})
        yield f"event: error\ndata: {json.dumps(told)}\n\n".encode()
    yield b"data: [DONE]\n\n"


def _partial(generation: Generation, event: Event, number: int, kind: str) -> bytes:
    said = facts(generation) | _now(generation) | {"output_format": "webp", "partial_image_index": number}
    said["b64_json"] = str(event.data["data"]).removeprefix(DATA_URL)
    return _frame(f"{kind}.partial_image", said)


def _now(generation: Generation) -> dict[str, Any]:
    return {"created_at": int(generation.created_at.timestamp())}


def _frame(kind: str, said: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **said})}\n\n".encode()
