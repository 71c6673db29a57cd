"""What of a request a pipeline obeys: read off it once, when it is loaded. What it does not obey is refused."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

from app.shared.wire.generation import SIDE, Picture

# Field of a request -> argument of a pipeline's call
ARGUMENTS = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "width": "width",
    "height": "height",
    "steps": "num_inference_steps",
    "guidance_scale": "guidance_scale",
}
NEEDED = ("prompt", "generator")  # a seed is obeyed with the second
NATIVE = 1024  # pixels of an edge, where a pipeline says nothing of it: what bases of 2026 are trained at


def obeyed(pipeline: Any) -> dict[str, bool]:
    """Return of each field in `ARGUMENTS` whether the pipeline obeys it.

    Raises ValueError for a pipeline that takes no prompt or generator.
    """
    takes = inspect.signature(type(pipeline).__call__).parameters
    if missing := [name for name in NEEDED if name not in takes]:
        raise ValueError(f"{type(pipeline).__name__} cannot be used here: its call takes no {', '.join(missing)}")
    found = {field: argument in takes for field, argument in ARGUMENTS.items()}
    if _setting(pipeline, "transformer", "guidance_embeds") is False:  # FLUX.1 [schnell]: taken, and not read
        found["guidance_scale"] = False
    own_guidance = takes.get("true_cfg_scale")  # FLUX.1: the negative prompt is read if this, which we leave, is over 1
    if own_guidance is not None and not own_guidance.default > 1:
        found["negative_prompt"] = False
    if _setting(pipeline, "unet", "time_cond_proj_dim") is not None:  # LCM: guided by an embedding of the scale alone
        found["negative_prompt"] = False
    return found


def native_size(pipeline: Any) -> tuple[int, int]:
    """Return width and height in pixels of the pictures that a pipeline draws when not told otherwise."""
    size = getattr(pipeline, "default_sample_size", None) or next(
        (found for part in ("unet", "transformer") if (found := _setting(pipeline, part, "sample_size"))), None
    )
    latent = getattr(pipeline, "vae_scale_factor", None) or getattr(pipeline, "vae_scale_factor_spatial", None)
    if size and latent:
        rows, columns = (size, size) if isinstance(size, int) else tuple(size)[-2:]
        return columns * latent, rows * latent
    takes = inspect.signature(type(pipeline).__call__).parameters
    width, height = (takes[side].default if side in takes else None for side in ("width", "height"))
    return (width, height) if isinstance(width, int) and isinstance(height, int) else (NATIVE, NATIVE)


def size_multiple(pipeline: Any) -> int:
    """Return the pixels of which width and height must be multiples: of a latent, or of a patch of latents."""
    latent = getattr(pipeline, "vae_scale_factor", None) or getattr(pipeline, "vae_scale_factor_spatial", 1)
    patch = _setting(pipeline, "transformer", "patch_size") or 1
    patch = patch if isinstance(patch, int) else patch[-1]  # of frames, rows, columns
    # Pipelines that pack latents themselves say so here
    packed = _setting(pipeline, "image_processor", "vae_scale_factor") or 1
    return math.lcm(SIDE, latent * patch, packed)


def call_arguments(request: Picture, obeys: Mapping[str, bool]) -> dict[str, Any]:
    """Return what a pipeline is called with for a request that it obeys."""
    return {argument: getattr(request, field) for field, argument in ARGUMENTS.items() if obeys[field]}


def _setting(pipeline: Any, component: str, name: str) -> Any:
    return getattr(getattr(getattr(pipeline, component, None), "config", None), name, None)
