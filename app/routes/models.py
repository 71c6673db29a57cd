"""The base models that can be drawn with."""

from pydantic import BaseModel

from app.deps import ServiceDep
from app.routing import Router
from app.shared.schema import ModelProfile

router = Router(prefix="/v1/models", tags=["models"])


class ModelList(BaseModel):
    """Models that a worker has loaded, the name of the default one, and those that nobody draws with now, and why."""

    models: list[ModelProfile]
    default: str
    not_ready: list[str]
    not_ready_why: dict[str, str]


@router.get("")
def models(service: ServiceDep) -> ModelList:
    """Every model, with its own sizes, limits and samplers."""
    why = service.liveness.readiness(service.profiles).not_ready
    loaded = service.profiles.ready()
    return ModelList(models=loaded, default=service.settings.model, not_ready=sorted(why), not_ready_why=why)
