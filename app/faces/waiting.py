"""Whoever waits for a picture on another API's face is told its end; what nobody waits for any more is canceled."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.concurrency import run_in_threadpool

from app.deps import Service
from app.http.waiting import awaited
from app.shared.errors import BadRequest, RadiataError, Unavailable
from app.shared.wire.generation import Generation, Status

LONGEST_S = 3600.0  # that one of them waits
OURS = frozenset(("worker_died", "timed_out", "engine_error", "out_of_memory"))  # failures for no fault of the request


class NotDrawn(RadiataError):
    """A generation failed for no fault of its request; another try may end the same."""

    status = 500
    title = "It was not drawn"


async def drawn(service: Service, generation: Generation, gone: Callable[[], Awaitable[bool]]) -> Generation:
    """Return a generation that has succeeded; raise what became of it else, having canceled it where nobody waits."""
    ended = await awaited(service, generation, LONGEST_S, gone)
    if ended is None or not ended.status.ended:
        await canceled(service, generation)
        message = "too many wait here, or this process ends; ask again in a moment"
        raise Unavailable("not_waited_for", message)
    judge(ended)
    return ended


def judge(ended: Generation) -> None:
    """Raise what became of a generation that has ended, unless it has succeeded."""
    if ended.status is Status.CANCELED:
        raise BadRequest("generation_canceled", "this generation was canceled before it was drawn")
    if ended.error:
        kind = NotDrawn if ended.error.code in OURS else BadRequest
        raise kind(ended.error.code, ended.error.message)


async def canceled(service: Service, generation: Generation) -> None:
    """Cancel a generation, unless it has ended."""
    with suppress(RadiataError):
        await run_in_threadpool(service.ledger.cancel, generation.id)
