"""Streams: the status of a request until it is completed, and the steps of an app until it has its output."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
from fastapi import Request

from app.deps import Service, Ticket
from app.faces.fal.answers import output, standing
from app.faces.fal.errors import error_of
from app.faces.waiting import canceled, judge
from app.http.places import Place
from app.hub import end_of
from app.routes.events import KEEP_ALIVE, EventStream, admitted
from app.shared.errors import RadiataError
from app.shared.events import START
from app.shared.wire.generation import Generation


def statuses(service: Service, one: Generation, request: Request, place: Place, logs: bool) -> EventStream:
    """Answer with the status of a request whenever something happens; whoever leaves cancels nothing."""
    return EventStream(_statuses(service, one, request, place, logs), admitted(service))


async def _statuses(
    service: Service, one: Generation, request: Request, place: Place, logs: bool
) -> AsyncGenerator[bytes]:
    async with aclosing(service.hub.follow(one.id, START, end_of(one))) as followed:
        async for events in followed:
            if not events:
                yield KEEP_ALIVE
                continue
            now = (await service.reading.get(one.id)).generation
            yield _frame(standing(now, request, place, logs))
            if now.status.ended:
                return


def steps(service: Service, one: Generation, request: Request, place: Place, ticket: Ticket) -> EventStream:
    """Answer with `progress` at each step, and the output at last; whoever leaves has it canceled."""
    return EventStream(_steps(service, one, request, place), ticket)


async def _steps(service: Service, one: Generation, request: Request, place: Place) -> AsyncGenerator[bytes]:
    over = False
    try:
        async with aclosing(service.hub.follow(one.id, START, end_of(one))) as followed:
            async for events in followed:
                told = [event.data for event in events if event.kind == "progress"]
                if told:
                    yield _frame({"progress": told[-1]})
                if events and events[-1].is_end:
                    over = True
                    yield _frame(await _end(service, one, request, place))
                    return
                if not events:
                    yield KEEP_ALIVE
    finally:
        if not over:
            with anyio.CancelScope(shield=True):
                await canceled(service, one)


async def _end(service: Service, one: Generation, request: Request, place: Place) -> dict[str, Any]:
    try:
        ended = (await service.reading.get(one.id)).generation
        judge(ended)
        return await output(service, ended, request, place)
    except RadiataError as error:
        return error_of({"code": error.code, "status": error.status, "detail": error.message})


def _frame(said: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(said)}\n\n".encode()
