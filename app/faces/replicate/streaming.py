"""`urls.stream` of a prediction: logs while it is drawn, each picture's address, and the end."""

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import Request

from app.deps import Service
from app.faces.progress_lines import progress_line
from app.faces.replicate.answers import prediction
from app.http.places import Place
from app.hub import end_of
from app.routes.events import KEEP_ALIVE, EventStream, admitted
from app.shared.events import START
from app.shared.wire.generation import Generation, Status

EVERY_S = 0.5  # between two events of logs, at least


def streamed(service: Service, generation: Generation, request: Request, place: Place) -> EventStream:
    """Answer with the events of a prediction; whoever leaves cancels nothing."""
    return EventStream(_frames(service, generation, request, place), admitted(service))


async def _frames(service: Service, generation: Generation, request: Request, place: Place) -> AsyncGenerator[bytes]:
    number, told = 0, float("-inf")
    async with aclosing(service.hub.follow(generation.id, START, end_of(generation))) as followed:
        async for events in followed:
            steps = [int(one.data.get("step", 0)) for one in events if one.kind == "progress"]
            if steps and time.monotonic() - told >= EVERY_S:
                number, told = number + 1, time.monotonic()
                yield _frame(number, "logs", progress_line(steps[-1], generation.progress.steps).rstrip("\n"))
            if events and events[-1].is_end:
                ended = (await service.reading.get(generation.id)).generation
                for kind, data in _end(ended, request, place):
                    number += 1
                    yield _frame(number, kind, data)
                return
            if not events:
                yield KEEP_ALIVE


def _end(ended: Generation, request: Request, place: Place) -> list[tuple[str, str]]:
    told = prediction(ended, request, place)
    if ended.status is Status.SUCCEEDED:
        return [*(("output", url) for url in told["output"] or ()), ("done", "{}")]
    reason = "canceled" if ended.status is Status.CANCELED else "error"
    error = [("error", str(told["error"]))] if reason == "error" else []
    return [*error, ("done", json.dumps({"reason": reason}))]


def _frame(number: int, kind: str, data: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"id: {number}\nevent: {kind}\n{lines}\n".encode()
