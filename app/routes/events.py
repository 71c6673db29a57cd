"""Server-sent events of one generation or training: `status`, `progress`, `image`, resumable by `Last-Event-ID`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, cast

from fastapi import Depends, Header, Query
from starlette.responses import StreamingResponse
from starlette.types import Send

from app.deps import Service, ServiceDep, Ticket
from app.http.places import Place, Prefix
from app.http.routing import Router
from app.hub import end_of
from app.shared.errors import Standing, TooMany, Unavailable
from app.shared.events import START, Event, position
from app.shared.previews import Viewer
from app.shared.wire.generation import Generation
from app.shared.wire.training import Training

router = Router(prefix="/v1/generations", tags=["generations"])

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # nginx would keep events back
LastEventId = Annotated[str | None, Header()]
MOST_STREAMS = 4096  # of a process: each holds a connection
MOST_OF_ONE = MOST_STREAMS // 8  # of one owner, where there are keys
AGAIN_S = 10  # after which another may have ended
KEEP_ALIVE = b": still here\n\n"


class EventStream(StreamingResponse):
    """Events as they come. (FastAPI's own passes them through two queues, which break loudly when a client goes.)

    ticket: what it is counted by, until it has ended (`admitted`).
    """

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncGenerator[bytes], ticket: Ticket, status_code: int = 200) -> None:
        # FastAPI's documentation reads the status off here
        super().__init__(frames, status_code, HEADERS)
        self.ticket = ticket

    async def stream_response(self, send: Send) -> None:
        """Send, and stop following at once when the client has gone."""
        frames = cast(AsyncGenerator[bytes], self.body_iterator)
        async with aclosing(frames):
            await super().stream_response(send)


async def _generation(generation_id: str, service: ServiceDep) -> Generation:
    # Asked before the stream begins: then a 404 can still be said
    return (await service.reading.get(generation_id)).generation


@router.get("/{generation_id}/events", response_class=EventStream)
async def events(
    service: ServiceDep,
    place: Prefix,
    generation: Annotated[Generation, Depends(_generation)],
    last_event_id: LastEventId = None,
    previews: Annotated[
        str, Query(pattern="^[01]$", description="1: `preview` events too, at most two a second, of what is drawn")
    ] = "0",
) -> EventStream:
    """Everything that happened to a generation and what happens next, until it ends.

    A `preview` has `index`, `step`, `width`, `height` and `data`, a data URL. None is kept.
    """
    viewer = Viewer(service.async_redis, generation.id) if previews == "1" else None
    return followed(service, generation, last_event_id, place, viewer)


def followed(
    service: Service, job: Generation | Training, last_event_id: str | None, place: Place, viewer: Viewer | None = None
) -> EventStream:
    """Every event of a job after the one with that id, or all; and previews for a viewer.

    Raises TooMany where its owner listens to as many as may be, and Unavailable where this process serves as many.
    """
    ticket = admitted(service)
    after = position(last_event_id) if last_event_id else None
    events = seen(service.hub.follow(job.id, after or START, end_of(job)), viewer)
    return EventStream(_frames(events, place), ticket)


def admitted(service: Service) -> Ticket:
    """What one more stream of the caller's is counted by; raises TooMany and Unavailable."""
    mine = sum(one.asker == service.asker for one in service.streams) if service.asker is not None else 0
    if mine >= MOST_OF_ONE:
        message = (
            f"{mine} streams of events of yours are open, and {MOST_OF_ONE} may be; close some, or ask for `?ids=`"
        )
        raise TooMany("too_many_streams", message, Standing("streams", MOST_OF_ONE, 0, AGAIN_S))
    if len(service.streams) >= MOST_STREAMS:
        message = (
            f"this process serves {MOST_STREAMS} streams of events, which is all that it may; try again in a moment"
        )
        raise Unavailable("too_many_streams", message, retry_after_s=AGAIN_S)
    ticket = Ticket(service.asker)
    service.streams.add(ticket)
    return ticket


async def seen(followed: AsyncGenerator[list[Event]], viewer: Viewer | None) -> AsyncGenerator[list[Event]]:
    """The events as they come, and before those that tell of progress the newest preview, where somebody wants it."""
    async with aclosing(followed):
        if viewer:
            await viewer.ask()
        async for events in followed:
            preview = None
            if viewer and not any(one.is_end for one in events):
                preview = await viewer.newest()
            yield [preview, *events] if preview else events


async def _frames(followed: AsyncGenerator[list[Event]], place: Place) -> AsyncGenerator[bytes]:
    async with aclosing(followed):
        async for events in followed:
            yield b"".join(_placed(event, place).frame for event in events) or KEEP_ALIVE


def _placed(event: Event, place: Place) -> Event:
    if not place or event.kind != "image":
        return event
    return replace(event, data=event.data | {"url": place.url(str(event.data.get("url", "")))})
