"""Generations: accept, list, look at, cancel."""

import json
import secrets
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel

from app.deps import Service, ServiceDep
from app.shared.errors import AdapterMisfit, BadRequest
from app.shared.schema import AdapterWorn, Generation, GenerationRequest, ModelProfile, ResolvedRequest, denoises

router = APIRouter(prefix="/v1/generations", tags=["generations"])

SEED_BITS = 32  # what people can read aloud, and what other tools take


class GenerationList(BaseModel):
    """Generations, newest first; `next` is the cursor of the following page, or null."""

    generations: list[Generation]
    next: str | None


@router.post("", status_code=202)
def create(
    body: GenerationRequest,
    service: ServiceDep,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> Generation:
    """Accept a generation: it will end, whichever process dies meanwhile."""
    # Without what is as by default: a field added later must not make another body of one that lacks it
    asked = body.model_dump(mode="json", exclude_defaults=True)
    fingerprint = sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    generation = service.ledger.accept(
        lambda: resolve(service, body),
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
        priority=body.priority,
    )
    response.headers["Location"] = f"/v1/generations/{generation.id}"
    return generation


@router.get("")
def newest(
    service: ServiceDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$")] = None,
) -> GenerationList:
    """The newest generations; `before` takes the `next` of the page before."""
    found, cursor = service.ledger.list(limit, before)
    return GenerationList(generations=found, next=cursor)


@router.get("/{generation_id}")
def look(generation_id: str, service: ServiceDep) -> Generation:
    """A generation as it stands."""
    return service.ledger.get(generation_id)


@router.delete("/{generation_id}")
def cancel(generation_id: str, service: ServiceDep) -> Generation:
    """Cancel a generation, queued or between two steps."""
    return service.ledger.cancel(generation_id)


def resolve(service: Service, body: GenerationRequest) -> ResolvedRequest:
    """Fill in what was left open, and fix every adapter to its bytes.

    Raises BadRequest, AdapterMisfit, NotFound, Gone or Unavailable.
    """
    profile = service.profiles.get(body.model or service.settings.model)
    width, height = body.width or profile.width, body.height or profile.height
    steps = body.steps or profile.steps
    _within_limits(service, profile, body, width, height, steps)
    return ResolvedRequest(
        prompt=body.prompt,
        negative_prompt=body.negative_prompt,
        model=profile.name,
        adapters=_resolve_adapters(service, profile, body),
        stack_mode=body.stack_mode,
        wearing=body.wearing,
        width=width,
        height=height,
        steps=steps,
        guidance_scale=profile.guidance_scale if body.guidance_scale is None else body.guidance_scale,
        sampler=body.sampler,
        seed=secrets.randbits(SEED_BITS) if body.seed is None else body.seed,
        count=body.count,
    )


def _within_limits(
    service: Service, profile: ModelProfile, body: GenerationRequest, width: int, height: int, steps: int
) -> None:
    settings = service.settings
    limits = [
        ("prompt_too_long", "prompt", len(body.prompt), settings.max_prompt_chars),
        ("prompt_too_long", "negative_prompt", len(body.negative_prompt), settings.max_prompt_chars),
        ("size_over_limit", "width", width, profile.max_edge),
        ("size_over_limit", "height", height, profile.max_edge),
        ("steps_over_limit", "steps", steps, settings.max_steps),
        ("count_over_limit", "count", body.count, settings.max_count),
        ("too_many_adapters", "adapters", len(body.adapters), settings.max_adapters),
    ]
    for code, field, value, limit in limits:
        if value > limit:
            raise BadRequest(code, f"{field} is {value}; at most {limit} is possible here")
    if body.sampler is not None and body.sampler not in profile.samplers:
        known = ", ".join(profile.samplers)
        raise BadRequest("sampler_unknown", f"model {profile.name!r} has no sampler {body.sampler!r}; known: {known}")


def _resolve_adapters(service: Service, profile: ModelProfile, body: GenerationRequest) -> list[AdapterWorn]:
    worn: list[AdapterWorn] = []
    for use in body.adapters:
        version = service.catalog.resolve(use.ref)
        if profile.name not in version.fits:
            places = ", ".join(version.fits) or "no model here"
            raise AdapterMisfit(
                "adapter_for_another_base",
                f"{use.ref!r} fits {places}, not {profile.name!r}; choose another of the two",
            )
        if twin := next((other for other in worn if other.sha256 == version.sha256), None):
            raise BadRequest("adapter_twice", f"{twin.ref!r} and {use.ref!r} are the same file; name it once")
        if missing := sorted(set(use.strengths) - set(version.components)):
            known = ", ".join(version.components)
            raise BadRequest("component_unknown", f"{use.ref!r} does not change {', '.join(missing)}, only {known}")
        if use.steps and not any(map(denoises, version.components)):
            known = ", ".join(version.components)
            raise BadRequest("steps_without_denoiser", f"{use.ref!r} changes only {known}; give a strength, not steps")
        if missing := [block for block in use.blocks if not _named(block, profile.blocks)]:
            known = ", ".join(profile.blocks)
            raise BadRequest("block_unknown", f"{profile.name!r} has no {', '.join(missing)}; known: {known}")
        worn.append(
            AdapterWorn(
                ref=use.ref,
                name=version.name,
                version=version.version,
                sha256=version.sha256,
                strength=use.strength,
                strengths=dict(use.strengths),
                blocks=dict(use.blocks),
                steps=list(use.steps),
                rank=use.rank,
                ignore=version.ignore,
            )
        )
    return worn


def _named(block: str, known: list[str]) -> bool:
    """Tell whether a block is one of a model's or lies in the last of them; an old profile lists none, and all pass."""
    parents = {one.rpartition(".")[0] for one in known}
    return not known or block in known or any(block.startswith(f"{one}.") for one in known if one not in parents)
