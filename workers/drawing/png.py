"""Pixels to PNG files that carry their recipe.

The recipe holds all that decides the pixels and nothing else (no names, times or ids), so that the same request gives
the same bytes. (A CPU's kind and the engine's number of threads, which can turn a last bit, are not in it.)
"""

import io
import json
from typing import Any

from PIL.Image import Image
from PIL.PngImagePlugin import PngInfo

from app.shared.schema import ApplyMode, ModelProfile, ResolvedRequest

RECIPE = "radiata"  # keyword of the iTXt chunk
COMPRESSION = 6  # zlib level; fixed, for it decides the bytes


def recipe(request: ResolvedRequest, seed: int, profile: ModelProfile, way: ApplyMode) -> dict[str, Any]:
    """Everything that decides the pixels of one picture; way: how the adapters were worn."""
    adapters = [
        one.model_dump(include={"sha256", "strength", "strengths", "blocks", "schedule", "rank", "ignore"})
        for one in request.adapters
    ]
    if request.stack_mode == "sum":  # then their order decides nothing
        adapters.sort(key=lambda one: str(one["sha256"]))
    return {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "seed": seed,
        "width": request.width,
        "height": request.height,
        "steps": request.steps,
        "guidance_scale": request.guidance_scale,
        "sampler": request.sampler,
        "adapters": adapters,
        "stack_mode": request.stack_mode,
        "applied": way,
        "base": profile.fingerprint,
        "dtype": profile.dtype,
        "device": profile.device,
        "threads": profile.threads,
        "versions": profile.versions,
    }


def encode(picture: Image, made_by: dict[str, Any]) -> bytes:
    """A PNG of `picture` with its recipe in an iTXt chunk."""
    info = PngInfo()
    info.add_itxt(RECIPE, json.dumps(made_by, sort_keys=True, ensure_ascii=False))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=info, compress_level=COMPRESSION)
    return buffer.getvalue()
