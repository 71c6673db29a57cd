"""Health: the process answers, it can work, and its figures."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.accepting.liveness import Readiness, loaded_or_away
from app.deps import ServiceDep
from app.metrics import registry

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """The process answers, whatever uploads, storage or Redis do: this waits for none of them."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"model": Readiness}})
def ready(service: ServiceDep, response: Response) -> Readiness:
    """Queue, storage and at least one model are there, and somebody draws with it.

    An `index` that is still being made, 0 to 1, makes older pages of lists wait, and nothing else.
    """
    readiness = service.liveness.readiness(loaded_or_away(service.profiles))
    response.status_code = 200 if readiness.ready else 503
    # Open to all: of a service with keys, only who has one hears the rest, of `/v1/models`
    kept = {"models": [], "not_ready": {}, "other_bases": {}} if service.callers.needed else {}
    return readiness.model_copy(update={**kept, "index": round(service.ledger.following.making.part, 3)})


@router.get("/metrics", response_class=Response)
def metrics(service: ServiceDep) -> Response:
    """Figures for Prometheus."""
    return Response(generate_latest(registry(service)), media_type=CONTENT_TYPE_LATEST)
