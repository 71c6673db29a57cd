"""The workers that draw, and what they hold."""

from pydantic import BaseModel

from app.deps import ServiceDep
from app.http.routing import Router
from app.shared.worker_state import WorkerState, worker_states

router = Router(prefix="/v1/workers", tags=["workers"])


class WorkerList(BaseModel):
    """Generation workers that live."""

    workers: list[WorkerState]


@router.get("")
def workers(service: ServiceDep) -> WorkerList:
    """Every generation worker: its model and machine, its job, the adapters that are active and those in memory."""
    return WorkerList(workers=worker_states(service.redis))
