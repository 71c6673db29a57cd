"""A generation as it is written down when it is accepted, and as it stands by its live state."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from app.shared import tracing
from app.shared.accepted import Accepted, Aside
from app.shared.lifecycle import now
from app.shared.log import request_id
from app.shared.owners import FIRST
from app.shared.passes import total
from app.shared.wire.generation import Generation, Priority, Progress, ResolvedRequest, Status

NOTHING_ASIDE = Aside()


def begun(
    generation_id: str,
    request: ResolvedRequest,
    priority: Priority,
    fingerprint: str | None,
    aside: Aside = NOTHING_ASIDE,
    owner: str = FIRST,
) -> Accepted:
    """A generation as it is written down when it is accepted, now."""
    created = now()
    within = aside.start_within_s
    generation = Generation(
        id=generation_id,
        owner=owner,
        status=Status.QUEUED,
        priority=priority,
        progress=Progress(steps=total(request) * request.count),
        request=request,
        created_at=created,
        metadata=aside.metadata,
        start_by=None if within is None else created + timedelta(seconds=within),
    )
    asked = {"request_id": request_id(), "traceparent": tracing.current()}
    return Accepted(generation=generation, fingerprint=fingerprint, webhook=aside.webhook, **asked)


def as_it_stands(
    generation: Generation, live: Mapping[str, str], position: Callable[[Generation], int | None]
) -> Generation:
    """A generation as it was accepted, with the live state that Redis has; position: gives its place in the queue."""
    if generation.status.ended:
        return generation
    if live.get("status") != Status.RUNNING:
        return generation.model_copy(update={"queue_position": position(generation)})
    running: dict[str, Any] = {"status": Status.RUNNING}
    with suppress(ValueError):  # Redis is data too
        step = min(int(live.get("step", 0)), generation.progress.steps)
        running["progress"] = Progress(step=step, steps=generation.progress.steps)
    with suppress(ValueError):
        running["device_seconds"] = max(int(live.get("device_ms", 0)), 0) / 1000
    with suppress(ValueError, KeyError):
        running["started_at"] = datetime.fromisoformat(live["started_at"])
    return generation.model_copy(update=running)
