"""Several requests that are accepted together: all of them, or none.

All are judged before the first is accepted, and there is room for all. If something goes away after that, those that
were accepted are canceled; with an `Idempotency-Key` they stay, and the same key accepts the rest, as it does where the
process died between two of them.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress

from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import run_in_threadpool

from app.accepting.brought import with_refs
from app.accepting.fast_acceptance import accept, fingerprint_of, moderate
from app.accepting.generations import URGENCY, resolve, together
from app.deps import Service
from app.shared.discretion import hide, prompts_of
from app.shared.errors import RadiataError
from app.shared.generations import PLACES
from app.shared.preprocessing import digest
from app.shared.wire.batch import Batch
from app.shared.wire.generation import Generation, GenerationRequest, Priority, ResolvedRequest


async def accept_all(service: Service, batch: Batch, idempotency_key: str | None) -> list[Generation]:
    """Accept every request of a batch, in order, or raise what is wrong with any of them."""
    hide(text for body in batch.requests for text in prompts_of(body))
    fingerprint = fingerprint_of(batch)
    keys = [None if idempotency_key is None else f"{idempotency_key}\n{at}" for at in range(len(batch.requests))]
    known: list[Generation | None] = [None] * len(keys)
    if idempotency_key is not None:
        known = await run_in_threadpool(lambda: [service.ledger.repeat(key, fingerprint) for key in keys])
        if all(known):
            return [one for one in known if one]
    bodies = await _judged(service, batch.requests)
    accepted: list[Generation] = []
    ids = [service.ledger.id_for(key) for key in keys]
    new = [one for one, earlier in zip(ids, known, strict=True) if earlier is None]
    try:
        async with contextmanager_in_threadpool(service.limits.place(PLACES.name, *new)):
            for body, key, own in zip(bodies, keys, ids, strict=True):
                accepted.append(await accept(service, body, key, fingerprint, own, True))
    except Exception as error:
        if idempotency_key is None:
            await run_in_threadpool(_undo, service, accepted)
        if isinstance(error, RadiataError):
            _place(len(accepted), error)
        raise
    return accepted


async def _judged(service: Service, requests: Sequence[GenerationRequest]) -> list[GenerationRequest]:
    """Return the requests with refs in place of the pictures that they bring; raise all that is wrong with them."""
    brought = await asyncio.gather(*(with_refs(service, body) for body in requests), return_exceptions=True)
    _raise(enumerate(brought))
    bodies = [body for body in brought if isinstance(body, GenerationRequest)]

    def judge() -> list[ResolvedRequest | RadiataError]:
        return [_resolved(service, body) for body in bodies]

    resolved = await run_in_threadpool(judge)
    _raise(enumerate(resolved))
    if service.moderation.there:
        _raise(enumerate(await asyncio.gather(*(_moderated(service, body) for body in bodies))))
    await run_in_threadpool(_room_for, service, bodies, [one for one in resolved if isinstance(one, ResolvedRequest)])
    return bodies


async def _moderated(service: Service, body: GenerationRequest) -> RadiataError | None:
    try:
        await moderate(service, body)
    except RadiataError as error:
        return error
    return None


def _resolved(service: Service, body: GenerationRequest) -> ResolvedRequest | RadiataError:
    try:
        return resolve(service, body)
    except RadiataError as error:
        return error


def _room_for(service: Service, bodies: list[GenerationRequest], resolved: list[ResolvedRequest]) -> None:
    """Raise Unavailable where not all of them would be taken."""
    queues: Counter[tuple[str, Priority, str, str]] = Counter(
        (one.model, body.priority, one.base, digest(one.preprocessors))
        for body, one in zip(bodies, resolved, strict=True)
    )
    for model, priority, base, needs in queues:
        # What is more urgent in the same batch will wait before it
        as_urgent = URGENCY[: URGENCY.index(priority) + 1]
        more = sum(queues[model, one, base, needs] for one in as_urgent)
        service.ledger.room_for(model, priority, base, more, needs)


def _raise(outcomes: Iterable[tuple[int, object]]) -> None:
    wrong: list[RadiataError] = []
    for at, outcome in outcomes:
        if isinstance(outcome, RadiataError):
            _place(at, outcome)
            wrong.append(outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
    if elsewhere := [one for one in wrong if not one.reasons]:  # something is away, and nothing wrong with a request
        raise elsewhere[0]
    if wrong:
        raise together(wrong)


def _place(index: int, error: RadiataError) -> None:
    """Make the places that an error of one request tells those in the batch."""
    error.reasons = tuple({**one, "pointer": f"/requests/{index}{one.get('pointer', '')}"} for one in error.reasons)


def _undo(service: Service, accepted: Iterable[Generation]) -> None:
    for one in accepted:
        with suppress(RadiataError):  # it is drawn already, or storage is away
            service.ledger.cancel(one.id)
