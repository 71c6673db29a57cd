"""What a request sets and a model would drop, round or fail on: by the model's profile, before anything is drawn.

Acceptance refuses by it, and so does the engine once more: a request may have been judged by an older profile.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from app.shared.wire.generation import Picture
from app.shared.wire.model import ModelProfile

NEAREST = 3  # of fixed sizes, those that a refusal names


class Disobeyed(NamedTuple):
    """A field that is not obeyed as it stands: code and sentence of its refusal, and what is right."""

    field: str
    code: str
    message: str
    allowed: Any


def disobeyed(profile: ModelProfile, asked: Picture) -> Iterator[Disobeyed]:
    """Yield everything of a request, filled in, that the model does not obey."""
    name = f"{profile.name!r} ({profile.pipeline})"
    for field, only in profile.disobeyed(asked).items():
        yield Disobeyed(field, "not_obeyed", f"{name} obeys no {field}; leave it out", [only])
    over, guidance = profile.negative_over, getattr(asked, "guidance_scale", None)
    if asked.negative_prompt and over is not None and guidance is not None and guidance <= over:
        message = f"{name} reads a negative_prompt only where guidance_scale is over {over:g}, and it is {guidance:g}"
        yield Disobeyed("negative_prompt", "not_obeyed", f"{message}; raise it, or leave the negative_prompt out", [""])
    steps = getattr(asked, "steps", None)
    if profile.max_steps is not None and steps is not None and steps > profile.max_steps:
        message = f"steps is {steps}; {name} takes at most {profile.max_steps}"
        yield Disobeyed("steps", "steps_over_limit", message, {"maximum": profile.max_steps})
    most = profile.sampler_steps.get(asked.sampler or "")
    if most is not None and steps is not None and steps > most:
        message = f"steps is {steps}; the sampler {asked.sampler!r} takes at most {most} with {name}"
        yield Disobeyed("steps", "steps_over_limit", message, {"maximum": most})
    yield from _sizes(profile, asked)


def _sizes(profile: ModelProfile, asked: Picture) -> Iterator[Disobeyed]:
    width, height = (getattr(asked, side, None) for side in ("width", "height"))
    if width is None or height is None:
        return
    if profile.sizes and (width, height) not in profile.sizes:
        near = sorted(profile.sizes, key=lambda size: abs(size[0] - width) + abs(size[1] - height))[:NEAREST]
        shown = " or ".join(f"{one}×{other}" for one, other in near)
        message = f"{width}×{height} is none of the sizes of {profile.name!r}; nearest {shown}"
        for at, side in enumerate(("width", "height")):
            yield Disobeyed(side, "size_not_offered", message, sorted({size[at] for size in near}))
        return
    for side, size in (("width", width), ("height", height)):
        multiple = profile.size_multiple
        if size % multiple:
            below = size - size % multiple
            near = " or ".join(str(one) for one in (below, below + multiple) if one)
            message = f"{side} is {size}; it must be a multiple of {multiple} for {profile.name!r}: nearest {near}"
            yield Disobeyed(side, "size_not_multiple", message, {"multipleOf": multiple})
