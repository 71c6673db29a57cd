"""What a picture's file says for other tools: A1111's infotext, which Civitai and most galleries read.

Names stand in it (of the base and its adapters, each beside its hash), and no pixel depends on them. What infotext has
no word for is in the recipe.
"""

import json
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import version

from app.shared.a1111_names import names_of
from app.shared.sequence import in_sequence
from app.shared.wire.adapter import ResolvedAdapter, denoises
from app.shared.wire.generation import ResolvedRequest

HASH = 12  # hex digits of an adapter's sha256
MODEL_HASH = 10
QUOTED = re.compile(r'[,:\n"]')


def infotext(request: ResolvedRequest, seed: int) -> str:
    """The infotext of one picture of a request."""
    adapters = request.adapters
    if not in_sequence(request.stack_mode, (one.kind for one in adapters)):  # their order decides nothing
        adapters = sorted(adapters, key=lambda one: (one.sha256, one.model_dump_json()))
    lines = [" ".join([request.prompt, *(_tag(one) for one in adapters if one.kind == "weights")])]
    if request.negative_prompt:
        lines.append(f"Negative prompt: {request.negative_prompt}")
    lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in _fields(request, seed, adapters)))
    return "\n".join(lines)


def _fields(request: ResolvedRequest, seed: int, adapters: list[ResolvedAdapter]) -> Iterator[tuple[str, str]]:
    sampler, spacing = names_of(request.sampler, request.sigmas)
    yield "Steps", str(request.steps)
    if sampler:
        yield "Sampler", sampler
    if spacing:
        yield "Schedule type", spacing
    yield "CFG scale", _number(request.guidance_scale)
    yield "Seed", str(seed)
    yield "Size", f"{request.width}x{request.height}"
    if request.base:
        yield "Model hash", request.base[:MODEL_HASH]
    yield "Model", request.model
    if request.init_image and request.denoise is not None:
        yield "Denoising strength", _number(request.denoise)
    if request.clip_skip:
        yield "Clip skip", str(request.clip_skip + 1)  # A1111 counts from the last layer, which is 1
    if request.upscale:
        if not request.init_image:
            yield "Denoising strength", _number(request.upscale.denoise)
        yield "Hires upscale", _number(request.upscale.scale)
        yield "Hires upscaler", {"lanczos": "Lanczos", "latent": "Latent"}[request.upscale.method]
    yield "RNG", "CPU"
    for name, kinds in (("Lora hashes", ("weights",)), ("Adapter hashes", ("embedding", "control", "image_prompt"))):
        if those := [one for one in adapters if one.kind in kinds]:
            yield name, _hashes(those)
    yield "Version", f"Radiata {version('radiata')}"


def _hashes(adapters: Iterable[ResolvedAdapter]) -> str:
    return ", ".join(dict.fromkeys(f"{one.name}: {one.sha256[:HASH]}" for one in adapters))


def _tag(adapter: ResolvedAdapter) -> str:
    """Return `<lora:name:strength>`; with two strengths, the first is the text encoder's."""
    named = sorted(adapter.strengths.items())  # in whatever order they were given
    encoder = next((value for part, value in named if not denoises(part)), adapter.strength)
    denoiser = next((value for part, value in named if denoises(part)), adapter.strength)
    strengths = [denoiser] if encoder == denoiser else [encoder, denoiser]
    return f"<lora:{adapter.name}:{':'.join(map(_number, strengths))}>"


def _number(value: float) -> str:
    """A number with all its digits, and no `.0`."""
    return repr(float(value)).removesuffix(".0")


def _quoted(value: str) -> str:
    """A value as A1111 writes it, in quotes where it would end too early."""
    return json.dumps(value, ensure_ascii=False) if QUOTED.search(value) else value
