"""What a request sets and a model would drop, round or fail on: by the model's profile, before anything is drawn.

Acceptance refuses by it, and so does the engine once more: a request may have been judged by an older profile.
"""

import json
from collections.abc import Iterator
from html import escape
from itertools import chain

from app.shared.pictured import Wrong as Disobeyed
from app.shared.pictured import has_pictures, misplaced
from app.shared.prompts import PROMPTS, parts_of
from app.shared.wire.generation import Picture
from app.shared.wire.model import OWN_SAMPLER, ModelProfile

UNGUIDED = 1.0  # a guidance that changes nothing, so that there is nothing to rescale
NEAREST = 3  # of fixed sizes, those that a refusal names
MOST_WEBP = 16383  # pixels of an edge that the format has room for
# Bytes of a request whose recipe and infotext a JPEG has room for: each may be 64 KiB, with what is added
MOST_JPEG = 48 * 1024


def disobeyed(profile: ModelProfile, asked: Picture) -> Iterator[Disobeyed]:
    """Yield everything of a request, filled in, that the model does not obey."""
    name = f"{profile.name!r} ({profile.pipeline})"
    for field, only in profile.disobeyed(asked).items():
        why = f" ({profile.why_from_none})" if field in ("init_image", "upscale") and profile.why_from_none else ""
        yield Disobeyed(field, "not_obeyed", f"{name} obeys no {field}{why}; leave it out", [only])
    yield from _prompts(asked, name)
    yield from _sampling(profile, asked, name)
    if asked.clip_skip is not None and profile.max_clip_skip is not None and asked.clip_skip > profile.max_clip_skip:
        message = f"clip_skip is {asked.clip_skip}; {name} has layers for at most {profile.max_clip_skip}"
        yield Disobeyed("clip_skip", "not_obeyed", message, {"maximum": profile.max_clip_skip})
    guidance = getattr(asked, "guidance_scale", None)
    for field, over in (
        ("negative_prompt", profile.negative_over),
        ("negative_prompt_2", profile.negative_over),
        ("guidance_rescale", UNGUIDED),
    ):
        if getattr(asked, field) and over is not None and guidance is not None and guidance <= over:
            message = f"{name} reads a {field} only where guidance_scale is over {over:g}, and it is {guidance:g}"
            default = type(asked).model_fields[field].default
            yield Disobeyed(field, "not_obeyed", f"{message}; raise it, or leave the {field} out", [default])
    if profile.negative_over == UNGUIDED and guidance is not None and 0 < guidance < UNGUIDED:
        message = (
            f"guidance_scale is {guidance:g}; {name} draws unguided up to 1, and guides above it; ask for 1 or more"
        )
        yield Disobeyed("guidance_scale", "not_obeyed", message, {"minimum": UNGUIDED})
    steps = getattr(asked, "steps", None)
    if profile.max_steps is not None and steps is not None and steps > profile.max_steps:
        message = f"steps is {steps}; {name} takes at most {profile.max_steps}"
        yield Disobeyed("steps", "steps_over_limit", message, {"maximum": profile.max_steps})
    if asked.apply not in profile.apply_modes and getattr(asked, "adapters", ()):
        modes = ", ".join(profile.apply_modes)
        message = f"{name} applies no adapters by {asked.apply!r}; it takes {modes}"
        yield Disobeyed("apply", "not_obeyed", message, profile.apply_modes)
    yield from misplaced(profile, asked)
    yield from _sizes(profile, asked)
    yield from _file(asked)


def _prompts(asked: Picture, name: str) -> Iterator[Disobeyed]:
    for field in chain(*PROMPTS.items()):
        try:
            parts_of(asked, getattr(asked, field) or "")
        except ValueError as error:
            yield Disobeyed(field, "prompt_not_readable", f"the {field} cannot be read as weighted: {error}", None)
    if asked.prompt_syntax == "weighted" and asked.clip_skip is not None:
        message = f"{name} obeys no clip_skip with weighted prompts; leave one of the two out"
        yield Disobeyed("clip_skip", "not_obeyed", message, [None])


def _sampling(profile: ModelProfile, asked: Picture, name: str) -> Iterator[Disobeyed]:
    if asked.sampler is not None and asked.sampler not in profile.samplers:
        message = f"{name} has no sampler {asked.sampler!r}; known: {', '.join(profile.samplers) or 'none but its own'}"
        yield Disobeyed("sampler", "sampler_unknown", message, profile.samplers)
        return
    sampler = asked.sampler or OWN_SAMPLER
    with_it = f"with the sampler {asked.sampler!r}" if asked.sampler else "with its own sampler"
    ways = profile.sampler_sigmas.get(sampler, [])
    if asked.sigmas is not None and asked.sigmas not in ways:
        message = f"{name} has no {asked.sigmas} sigmas {with_it}; it has {', '.join(ways) or 'none but its own'}"
        yield Disobeyed("sigmas", "not_obeyed", message, [*ways, None])
    if asked.eta is not None and profile.obeys.get("eta") and sampler not in profile.eta_samplers:
        message = f"{name} reads no eta {with_it}, only with {', '.join(profile.eta_samplers)}; leave it out"
        yield Disobeyed("eta", "not_obeyed", message, [None])
    steps, most = getattr(asked, "steps", None), profile.sampler_steps.get(sampler)
    if most is not None and steps is not None and steps > most:
        message = f"steps is {steps}; {name} takes at most {most} {with_it}"
        yield Disobeyed("steps", "steps_over_limit", message, {"maximum": most})


def _sizes(profile: ModelProfile, asked: Picture) -> Iterator[Disobeyed]:
    width, height = (getattr(asked, side, None) for side in ("width", "height"))
    if width is None or height is None:
        return
    most = profile.max_pixels
    if most is not None and width * height > most:
        wide = width >= height
        fits = most // min(width, height) // profile.size_multiple * profile.size_multiple
        message = f"{profile.name!r} has not the memory for {width}×{height} on {profile.device}: at most {most} pixels"
        yield Disobeyed("width" if wide else "height", "size_over_memory", message, {"maximum": fits})
    if profile.sizes and (width, height) not in profile.sizes:
        near = sorted(profile.sizes, key=lambda size: abs(size[0] - width) + abs(size[1] - height))[:NEAREST]
        shown = " or ".join(f"{one}×{other}" for one, other in near)
        message = f"{width}×{height} is none of the sizes of {profile.name!r}; nearest {shown}"
        for at, side in enumerate(("width", "height")):
            yield Disobeyed(side, "size_not_offered", message, sorted({size[at] for size in near}))
        return
    if asked.fit == "pad" and has_pictures(asked):  # what is missing to a multiple is drawn, and cut off
        return
    for side, size in (("width", width), ("height", height)):
        multiple = profile.size_multiple
        if size % multiple:
            below = size - size % multiple
            near = " or ".join(str(one) for one in (below, below + multiple) if one)
            message = f"{side} is {size}; it must be a multiple of {multiple} for {profile.name!r}: nearest {near}"
            yield Disobeyed(side, "size_not_multiple", message, {"multipleOf": multiple})


def _file(asked: Picture) -> Iterator[Disobeyed]:
    """Yield what the file of a picture has no room for."""
    if asked.quality is not None and asked.output_format == "png":
        message = "a PNG keeps every pixel as it is: leave quality out, or choose another output_format"
        yield Disobeyed("quality", "quality_of_png", message, [None])
    edge = max(getattr(asked, side, None) or 0 for side in ("width", "height"))
    edge = int(edge * (asked.upscale.scale if asked.upscale else 1))
    if asked.output_format == "webp" and edge > MOST_WEBP:
        message = f"a WebP has edges of at most {MOST_WEBP} pixels, and this has {edge}; choose another output_format"
        yield Disobeyed("output_format", "format_too_small", message, ["png", "jpeg"])
    if asked.output_format == "jpeg" and _written(asked) > MOST_JPEG:
        message = "a JPEG has no room for so long a recipe; choose another output_format"
        yield Disobeyed("output_format", "format_too_small", message, ["png", "webp"])


def _written(asked: Picture) -> int:
    """Return the bytes of a request as its recipe (ASCII), or its infotext (UTF-16), is written in such a file."""
    whole = asked.model_dump(mode="json")
    infotext = json.dumps(whole, ensure_ascii=False)  # which says less of it
    return max(len(escape(json.dumps(whole), quote=False)), len(infotext.encode("utf-16-be")))
