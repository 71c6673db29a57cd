"""Server-sent events of one generation: `status`, `progress`, `image`, resumable by `Last-Event-ID`."""

import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from app.deps import Service, ServiceDep
from app.shared.events import follow
from app.shared.schema import Generation, Status

router = APIRouter(prefix="/v1/generations", tags=["generations"])

WAIT_MS = 2000  # how long to wait for an event before looking whether the end came without one
NO_WAIT_MS = 1  # 0 would be for ever
STREAM_ID = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?")


def _generation(generation_id: str, service: ServiceDep) -> Generation:
    return service.ledger.get(generation_id)  # asked before the stream begins: then a 404 can still be said


@router.get("/{generation_id}/events", response_class=EventSourceResponse)
async def events(
    generation_id: str,
    service: ServiceDep,
    generation: Annotated[Generation, Depends(_generation)],
    last_event_id: Annotated[str | None, Header()] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Everything that happened to a generation and what happens next, until it ends."""
    after = last_event_id if last_event_id and STREAM_ID.fullmatch(last_event_id) else "0"
    wait_ms = NO_WAIT_MS if generation.status.ended else WAIT_MS
    async for event in follow(service.async_redis, generation_id, after, wait_ms):
        if event is None:
            # Redis may have lost the stream; storage knows the end
            if end := await run_in_threadpool(_end, service, generation_id):
                yield end
                return
            continue
        yield ServerSentEvent(event=event.kind, id=event.id, data=event.data)
        if event.kind == "status" and Status(event.data["status"]).ended:
            return


def _end(service: Service, generation_id: str) -> ServerSentEvent | None:
    generation = service.ledger.get(generation_id)
    if not generation.status.ended:
        return None
    data = {"status": generation.status, "error": generation.error.model_dump() if generation.error else None}
    return ServerSentEvent(event="status", data=data)
