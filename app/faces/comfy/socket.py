"""The socket that ComfyUI's clients listen to: how the prompts of one client get on."""

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from datetime import datetime, timedelta
from typing import Annotated, Any, cast

import structlog
from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect
from redis.exceptions import RedisError

from app.callers import CALLER, Caller
from app.deps import Service, Ticket
from app.faces.comfy.answers import failure, prompt_id, shown
from app.faces.comfy.request import kept_of
from app.hub import end_of
from app.routes.events import seen
from app.shared.errors import RadiataError
from app.shared.events import START, Event
from app.shared.lifecycle import now
from app.shared.previews import DATA_URL, Viewer
from app.shared.wire.generation import Generation, Status

log = structlog.get_logger()

router = APIRouter(prefix="/comfy")

LATELY = timedelta(seconds=30)
SLACK = timedelta(seconds=5)  # between the clocks of processes that accept
LOOK_S = 0.3  # between two looks for what its client has asked for since
NEWEST = 20  # generations among which they are looked for at first; later, among all that came since
MOST = 256  # sockets of a process at a time
MOST_OF_ONE = MOST // 8  # of one owner, where there are keys
TRY_AGAIN = 1013  # IANA's registry of RFC 6455's codes: this is temporary
WEBP = 3  # of a preview: 1 is JPEG there and 2 PNG
_open: set[Ticket] = set()


@router.websocket("/ws")
async def listen(socket: WebSocket, clientId: Annotated[str, Query(max_length=128)] = "") -> None:
    """Tell a client of what it has asked for with that `client_id`, now and from now on."""
    service = cast(Service, socket.app.state.service)
    if caller := cast(Caller | None, socket.scope.get(CALLER)):
        service = service.seen_by(caller)
    known, since = await _of(service, clientId)  # before it may ask for more, all of which it is told of
    await socket.accept()
    mine = sum(one.asker == service.asker for one in _open) if service.asker is not None else 0
    if len(_open) >= MOST or mine >= MOST_OF_ONE:
        await socket.close(TRY_AGAIN, "too many listen here; ask again in a moment")
        return
    ticket = Ticket(service.asker)
    _open.add(ticket)
    tasks = asyncio.create_task(_tell(service, socket, clientId, known, since)), asyncio.create_task(_gone(socket))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        _open.discard(ticket)
        for task in tasks:
            task.cancel()
        told, _ = await asyncio.gather(*tasks, return_exceptions=True)
    if isinstance(told, RadiataError | RedisError):  # it would wait for ever for what is not told any more
        log.warning("socket_not_told", error=str(told))
        await socket.close(TRY_AGAIN, "storage or Redis does not answer; ask again in a moment")


async def _gone(socket: WebSocket) -> None:
    """Wait until its client has gone; whatever it says is not listened to."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _tell(
    service: Service, socket: WebSocket, client: str, known: list[Generation], since: datetime | None
) -> None:
    with suppress(WebSocketDisconnect):
        await _tell_all(service, socket, client, known, since)


async def _tell_all(
    service: Service, socket: WebSocket, client: str, known: list[Generation], since: datetime | None
) -> None:
    for one in known:  # some open this socket after they have asked, and would wait for what has failed already
        if (wrong := failure(one)) and one.finished_at and now() - one.finished_at < LATELY:
            await _say(socket, *wrong)
    await _say(socket, "status", {"status": _remaining(known), "sid": client})
    told = {one.id for one in known if one.status.ended}
    while not service.hub.stopping:
        for one in known:
            if one.id not in told:
                told.add(one.id)
                await _follow(service, socket, one)
                await _say(socket, "status", {"status": _remaining((await _of(service, client))[0])})
        await asyncio.sleep(LOOK_S)
        known, since = await _of(service, client, since)
    await socket.close()


def _remaining(living: list[Generation]) -> dict[str, Any]:
    return {"exec_info": {"queue_remaining": sum(not one.status.ended for one in living)}}


async def _of(service: Service, client: str, since: datetime | None = None) -> tuple[list[Generation], datetime | None]:
    """What a client has asked for lately, the oldest first, and from when on to look next; since: that of the last."""
    found: list[Generation] = []
    cursor: str | None = None
    try:
        while True:
            page, cursor = await service.reading.list(NEWEST, cursor)
            found += [one.generation for one in page]
            if cursor is None or since is None or found[-1].created_at < since:
                break
    except RadiataError:  # storage is away: it is looked for again
        return [], since
    mine = [one for one in reversed(found) if client and kept_of(one.metadata).client == client]
    return mine, (found[0].created_at if found else now()) - SLACK


async def _follow(service: Service, socket: WebSocket, one: Generation) -> None:
    """Tell all of one generation, up to its end."""
    kept, prompt = kept_of(one.metadata), {"prompt_id": prompt_id(one)}
    viewer = Viewer(service.async_redis, one.id) if kept.previews else None
    begun = False
    async with aclosing(_events(service, one, viewer)) as followed:
        async for event in followed:
            runs = event.data.get("status") == Status.RUNNING.value or event.kind in ("progress", "preview")
            if runs and not begun:
                begun = True
                await _say(socket, "execution_start", prompt)
                await _say(socket, "execution_cached", {"nodes": [], **prompt})
                await _say(socket, "executing", {"node": kept.sampler, "display_node": kept.sampler, **prompt})
            if event.kind == "progress":
                step, steps = int(event.data.get("step", 0)), int(event.data.get("steps", 0) or one.progress.steps)
                await _say(socket, "progress", {"value": step, "max": steps, "node": kept.sampler, **prompt})
            elif event.kind == "preview":
                picture = base64.b64decode(str(event.data["data"]).removeprefix(DATA_URL))
                await socket.send_bytes((1).to_bytes(4, "big") + WEBP.to_bytes(4, "big") + picture)
    ended = (await service.reading.get(one.id)).generation
    if not ended.status.ended:  # this process ends: its client asks again
        return
    if wrong := failure(ended):
        await _say(socket, *wrong)
    else:
        for node, outputs in shown(ended).items():
            await _say(socket, "executed", {"node": node, "display_node": node, "output": outputs, **prompt})
        await _say(socket, "execution_success", prompt)
    await _say(socket, "executing", {"node": None, **prompt})


async def _events(service: Service, one: Generation, viewer: Viewer | None) -> AsyncGenerator[Event]:
    followed: AsyncIterator[list[Event]] = seen(service.hub.follow(one.id, START, end_of(one)), viewer)
    async with aclosing(cast(AsyncGenerator[list[Event]], followed)) as all_of_them:
        async for events in all_of_them:
            for event in events:
                yield event


async def _say(socket: WebSocket, kind: str, data: dict[str, Any]) -> None:
    await socket.send_json({"type": kind, "data": data})
