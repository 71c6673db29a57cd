"""Acceptance: what becomes of a request before it is a generation, or why it cannot be honoured.

Every way in (the routes of today, faces to come) asks here, so that all of them take and refuse the same.
"""

import secrets

from app.deps import Service
from app.shared.errors import AdapterMisfit, BadRequest
from app.shared.schema import AdapterWorn, GenerationRequest, ModelProfile, ResolvedRequest, denoises

SEED_BITS = 32  # what people can read aloud, and what other tools take


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
