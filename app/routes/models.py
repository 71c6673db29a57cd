"""The base models that can be drawn with."""

from pydantic import BaseModel

from app.deps import ServiceDep
from app.routing import Router
from app.shared.schema import ModelProfile

router = Router(prefix="/v1/models", tags=["models"])


class ModelList(BaseModel):
    """Models that a worker has loaded, the name of the default one, and those no worker has loaded yet."""

    models: list[ModelProfile]
    default: str
    not_ready: list[str]


@router.get("")
def models(service: ServiceDep) -> ModelList:
    """Every model, with its own sizes, limits and samplers."""
    ready = service.profiles.ready()
    missing = sorted(set(service.settings.models) - {profile.name for profile in ready})
    return ModelList(models=ready, default=service.settings.model, not_ready=missing)
