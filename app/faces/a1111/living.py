"""A1111 has one job at a time, and `/progress` and `/interrupt` are of that; here they are of the caller's latest.

Of the generations that whoever asks has begun through this API and that have not ended, it is the newest that is drawn,
else the one that has waited longest; with the `id_task` of a client that chose it as `force_task_id`, it is that one.
"""

from app.deps import Service
from app.faces.a1111.translating import TASK, VIA
from app.shared.wire.generation import Generation, Status

LOOKED_AT = 50  # generations, the newest first


def living(service: Service, task: str | None = None) -> Generation | None:
    """Return the caller's job, or None."""
    newest, _ = service.ledger.list(LOOKED_AT, None)
    ours = [one for one in newest if one.metadata.items() >= VIA.items() and not one.status.ended]
    if task:
        return next((one for one in ours if one.metadata.get(TASK) == task), None)
    running = [one for one in ours if one.status is Status.RUNNING]
    return running[0] if running else ours[-1] if ours else None
