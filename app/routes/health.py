"""Whether it lives, whether it can work, and its figures."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from redis.exceptions import RedisError

from app.deps import ServiceDep
from app.metrics import registry
from app.shared.errors import RadiataError

router = APIRouter(tags=["health"])


class Readiness(BaseModel):
    """What works; `ready` is whether a generation would be accepted now."""

    ready: bool
    queue: bool
    storage: bool
    models: list[str]


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """The process answers, whatever uploads, storage or Redis do: this waits for none of them."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"model": Readiness}})
def ready(service: ServiceDep, response: Response) -> Readiness:
    """Queue, storage and at least one model are there."""
    try:
        queue = bool(service.redis.ping())
    except RedisError:
        queue = False
    try:
        models, storage = [profile.name for profile in service.profiles.ready()], True
    except RadiataError:
        models, storage = [], False
    readiness = Readiness(ready=bool(queue and models), queue=queue, storage=storage, models=models)
    response.status_code = 200 if readiness.ready else 503
    return readiness


@router.get("/metrics", response_class=Response)
def metrics(service: ServiceDep) -> Response:
    """Figures for Prometheus."""
    return Response(generate_latest(registry(service)), media_type=CONTENT_TYPE_LATEST)
