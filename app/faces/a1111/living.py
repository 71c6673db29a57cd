"""A1111 has one job at a time, and `/progress` and `/interrupt` are of that; here they are of the caller's latest.

Of the generations that whoever asks has begun through this API and that have not ended, it is the newest that is drawn,
else the one that has waited longest; with the `id_task` of a client that chose it as `force_task_id`, it is that one.
"""

from app.deps import Service
from app.faces.a1111.translating import TASK, VIA
from app.shared.wanted import Wanted
from app.shared.wire.generation import Generation, Status

LOOKED_AT = 50  # generations that wait, the newest first


def living(service: Service, task: str | None = None) -> Generation | None:
    """Return the caller's job, or None."""
    said = VIA | ({TASK: task} if task else {})
    running, _ = service.ledger.list(1, None, Wanted(status=Status.RUNNING, metadata=said))
    if running:
        return running[0]
    waiting, _ = service.ledger.list(LOOKED_AT, None, Wanted(status=Status.QUEUED, metadata=said))
    return waiting[-1] if waiting else None
