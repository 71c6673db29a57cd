"""The base models that can be drawn with."""

from pydantic import BaseModel

from app.accepting.judging_maps import makes
from app.deps import ServiceDep
from app.http.routing import Router
from app.shared.wire.map import Made
from app.shared.wire.model import ModelProfile

router = Router(prefix="/v1/models", tags=["models"])


class ModelList(BaseModel):
    """Models that a worker has loaded, the name of the default one, and those that nobody draws with now, and why.

    `other_bases`: fingerprints of what some workers have under a model's name beside the one that is served. `maps`:
    those that are made here of pictures for control nets, as `preprocess` of an adapter's entry asks for them.
    """

    models: list[ModelProfile]
    default: str
    not_ready: list[str]
    not_ready_why: dict[str, str]
    other_bases: dict[str, list[str]] = {}
    maps: list[Made] = []


@router.get("")
def models(service: ServiceDep) -> ModelList:
    """Every model, with its own sizes, limits and samplers."""
    loaded = service.profiles.ready()
    readiness = service.liveness.readiness(loaded)
    return ModelList(
        models=loaded,
        default=service.settings.model,
        not_ready=sorted(readiness.not_ready),
        not_ready_why=readiness.not_ready,
        other_bases=readiness.other_bases,
        maps=makes(service.settings.preprocessors),
    )
