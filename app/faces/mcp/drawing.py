"""Generations followed to their ends, with progress told on the way; what nobody waits for any more is canceled."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple

import anyio

from app.deps import Service
from app.faces.waiting import canceled, judge
from app.http.places import Place
from app.hub import end_of
from app.shared.errors import Unavailable
from app.shared.events import START
from app.shared.wire.generation import Generation


class Asked(NamedTuple):
    """Who called a tool: the service as they see it, where they see it, and how progress is told (done, of, words)."""

    service: Service
    place: Place
    tell: Callable[[float, float, str], Awaitable[None]]


async def drawn(asked: Asked, generations: Sequence[Generation]) -> list[Generation]:
    """Return generations once all have succeeded; raise what became of the first that has not.

    Those that have not ended by then are canceled, also where the call itself is.
    """
    service, total = asked.service, sum(one.progress.steps for one in generations)
    ended: list[Generation] = []
    before = 0
    try:
        await asked.tell(0, total, "accepted")
        for one in generations:
            async with aclosing(service.hub.follow(one.id, START, end_of(one))) as followed:
                async for events in followed:
                    steps = [int(event.data["step"]) for event in events if event.kind == "progress"]
                    if steps:
                        done = before + max(steps)
                        await asked.tell(done, total, f"step {done} of {total}")
            last = (await service.reading.get(one.id)).generation
            if not last.status.ended:
                raise Unavailable("not_waited_for", "this process ends, and the drawing was canceled; ask again")
            judge(last)
            ended.append(last)
            before += one.progress.steps
    finally:
        with anyio.CancelScope(shield=True):
            for one in generations[len(ended) :]:
                await canceled(service, one)
    return ended
