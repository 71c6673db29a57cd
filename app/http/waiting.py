"""Requests that wait for what they asked for (RFC 7240, `Prefer: wait=N`): how long, and how many at a time."""

import re
import time
from collections.abc import Awaitable, Callable

from app.deps import Service
from app.hub import within
from app.shared.errors import RadiataError
from app.shared.wire.generation import Generation

MOST_S = 120  # that one request waits
MOST_WAITING = 256  # requests of a process at a time: each holds a connection
MOST_OF_ONE = MOST_WAITING // 4  # of one owner, where there are keys: what finds no room on a face is canceled
GLANCE_S = 1.0  # between two looks whether its client is there
WAIT = re.compile(r"wait\s*=\s*\"?([0-9]{1,9})\"?", re.IGNORECASE)


def wait_of(prefer: str | None) -> int:
    """Return the seconds that a `Prefer` header says to wait, at most `MOST_S`; 0 where it says none."""
    asked = (WAIT.fullmatch(one.strip()) for one in re.split("[,;]", prefer or ""))
    return min(next((int(one[1]) for one in asked if one), 0), MOST_S)


async def awaited(
    service: Service, generation: Generation, seconds: float, gone: Callable[[], Awaitable[bool]]
) -> Generation | None:
    """Return a generation once it has ended, or as it stands when the wait is over; None where too many wait.

    The wait is over after `seconds`, when its client has gone, or this process ends. What cannot be read meanwhile is
    looked for again: it is accepted, and whoever waits is told so in any case.
    """
    ticket = service.asker, object()
    if len(service.waiting) >= MOST_WAITING or _has_its_share(service):
        return None
    service.waiting.add(ticket)
    until = time.monotonic() + seconds
    try:
        with service.hub.watching(generation.id) as published:
            while True:
                published.clear()
                generation = await _looked_at(service, generation)
                left = until - time.monotonic()
                if generation.status.ended or left <= 0 or service.hub.stopping or await gone():
                    return generation
                await within(published, min(left, GLANCE_S))
    finally:
        service.waiting.discard(ticket)


def _has_its_share(service: Service) -> bool:
    return service.asker is not None and sum(one == service.asker for one, _ in service.waiting) >= MOST_OF_ONE


async def _looked_at(service: Service, generation: Generation) -> Generation:
    try:
        return (await service.reading.get(generation.id)).generation
    except RadiataError:  # away, or unreadable for now
        return generation
