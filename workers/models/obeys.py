"""What of a request a pipeline obeys: read off it once, when it is loaded. What it does not obey is refused."""

import math
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from app.shared.wire.generation import SIDE, ResolvedRequest
from workers.models.call import NEEDED, arguments_of, default_of
from workers.models.families import UNREAD, family_of, further_arguments, setting
from workers.models.inpainting import inpaint_of
from workers.models.latents import why_from_none
from workers.models.references import shown_to
from workers.models.samplers import eta_samplers
from workers.models.weighted_prompts import can_weigh

# Field of a request -> argument of a pipeline's call; what carries the guidance differs by family
ARGUMENTS = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "width": "width",
    "height": "height",
    "steps": "num_inference_steps",
    "guidance_scale": "guidance_scale",
    "clip_skip": "clip_skip",
    "prompt_2": "prompt_2",
    "negative_prompt_2": "negative_prompt_2",
    "guidance_rescale": "guidance_rescale",
    "eta": "eta",
    "original_size": "original_size",
    "target_size": "target_size",
    "crops_coords_top_left": "crops_coords_top_left",
}
# What is obeyed wherever a picture may be begun from another
FROM_PICTURES = (
    *("init_image", "denoise", "mask_image", "mask_blur", "fit", "inpaint_area", "inpaint_padding"),
    "upscale",
)
OF_ANY = ("output_format", "quality")  # what becomes of pictures that are drawn, whatever draws them
MASKED = (UNet2DConditionModel, FluxTransformer2DModel)  # `lycoris.positions` knows their layers by name
MICRO_CONDITIONS = ("original_size", "target_size", "crops_coords_top_left")
CLIP = "clip_text_model"  # as transformers calls it in a configuration
NATIVE = 1024  # pixels of an edge, where a pipeline says nothing of it: what bases of 2026 are trained at
STEPS, GUIDANCE_SCALE, UNGUIDED = 25, 7.0, 1.0  # where a pipeline says nothing of its own


def obeyed(pipeline: Any) -> dict[str, bool]:
    """Return of each field in `ARGUMENTS` whether the pipeline obeys it.

    Raises ValueError for a pipeline that takes no prompt or generator.
    """
    takes = arguments_of(type(pipeline))
    if missing := [name for name in NEEDED if name not in takes]:
        raise ValueError(f"{type(pipeline).__name__} cannot be used here: its call takes no {', '.join(missing)}")
    found = {field: argument in takes for field, argument in ARGUMENTS.items()}
    found["guidance_scale"] = bool(_carriers(pipeline))
    if family_of(pipeline).negative_over == UNREAD:
        found["negative_prompt"] = False
    if setting(pipeline, "unet", "time_cond_proj_dim") is not None:  # LCM: guided by an embedding of the scale alone
        found["negative_prompt"] = found["guidance_rescale"] = False
    found["guidance_rescale"] &= found["guidance_scale"]
    found["negative_prompt_2"] &= found["negative_prompt"]
    found["clip_skip"] &= bool(max_clip_skip(pipeline))
    found["eta"] &= bool(eta_samplers(getattr(pipeline, "scheduler", None)))
    found["prompt_syntax"] = can_weigh(pipeline)
    found |= dict.fromkeys(FROM_PICTURES, why_from_none(pipeline) is None) | dict.fromkeys(OF_ANY, True)
    found["upscale"] &= inpaint_of(pipeline) != "native"  # a second pass has no mask
    found["reference_images"] = bool(shown_to(pipeline).most)
    if setting(pipeline, "transformer", "use_style_cond_and_image_meta_size") is False:  # HunyuanDiT 1.2
        found |= dict.fromkeys(MICRO_CONDITIONS, False)
    return found


def max_clip_skip(pipeline: Any) -> int | None:
    """Return how many of the last layers of its CLIPs can be left out, so that one is left; None without a CLIP."""
    encoders = [name for name in ("text_encoder", "text_encoder_2") if setting(pipeline, name, "model_type") == CLIP]
    layers = [setting(pipeline, name, "num_hidden_layers") - 1 for name in encoders]
    takes = "clip_skip" in arguments_of(type(pipeline))
    return (min(layers) or None) if layers and takes else None


def takes_masks(pipeline: Any) -> bool:
    """Tell whether it is known of every layer of the denoiser whether it has positions in the picture."""
    denoiser = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    return isinstance(denoiser, MASKED)


def negative_over(pipeline: Any) -> float | None:
    """Return the guidance over which a negative prompt is read; None where none is, or the guidance is fixed."""
    obeys, over = obeyed(pipeline), family_of(pipeline).negative_over
    return over if obeys["negative_prompt"] and obeys["guidance_scale"] else None


def own_steps(pipeline: Any) -> int:
    """Return the number of steps that is the model's own."""
    own = family_of(pipeline).steps or default_of(pipeline, "num_inference_steps", int)
    return min(own or STEPS, most_steps(pipeline) or math.inf)


def own_guidance(pipeline: Any) -> float:
    """Return the guidance that is the model's own; what stands for none, where it obeys none."""
    own, carriers = family_of(pipeline).guidance_scale, _carriers(pipeline)
    if own is not None:
        return own
    if not carriers:
        return UNGUIDED
    first = carriers[0]
    found = attrgetter(first)(pipeline) if "." in first else default_of(pipeline, first, int | float)
    return GUIDANCE_SCALE if found is None else float(found)


def most_steps(pipeline: Any) -> int | None:
    """Return how many steps it can take at most: an LCM as many as it was distilled from; None without a limit."""
    scheduler = getattr(pipeline, "scheduler", None)
    return getattr(getattr(scheduler, "config", None), "original_inference_steps", None)


def longest_edge(pipeline: Any) -> float:
    """Return the longest edge in pixels that a pipeline has positions for; infinity where it computes them."""
    longest = family_of(pipeline).longest
    return longest(pipeline) if longest else math.inf


def native_size(pipeline: Any) -> tuple[int, int]:
    """Return width and height in pixels of the pictures that a pipeline draws when not told otherwise."""
    if own := family_of(pipeline).size:
        width, height = (int(min(edge, longest_edge(pipeline))) for edge in own)
        return width, height
    size = getattr(pipeline, "default_sample_size", None) or next(
        (found for part in ("unet", "transformer") if (found := setting(pipeline, part, "sample_size"))), None
    )
    latent = getattr(pipeline, "vae_scale_factor", None) or getattr(pipeline, "vae_scale_factor_spatial", None)
    if size and latent:
        rows, columns = (size, size) if isinstance(size, int) else tuple(size)[-2:]
        return columns * latent, rows * latent
    width, height = (default_of(pipeline, side, int) for side in ("width", "height"))
    return (width, height) if width and height else (NATIVE, NATIVE)


def size_multiple(pipeline: Any) -> int:
    """Return the pixels of which width and height must be multiples: of a latent, or of a patch of latents."""
    latent = getattr(pipeline, "vae_scale_factor", None) or getattr(pipeline, "vae_scale_factor_spatial", 1)
    patch = setting(pipeline, "transformer", "patch_size") or 1
    patch = patch if isinstance(patch, int) else patch[-1]  # of frames, rows, columns
    # Pipelines that pack latents themselves say so here
    packed = setting(pipeline, "image_processor", "vae_scale_factor") or 1
    return math.lcm(SIDE, latent * patch, packed, family_of(pipeline).multiple)


def fixed_sizes(pipeline: Any) -> list[tuple[int, int]]:
    """Return all (width, height) that it draws; none where it draws any."""
    sizes = family_of(pipeline).sizes
    return [(int(width), int(height)) for width, height in sizes(pipeline)] if sizes else []


def call_arguments(request: ResolvedRequest, pipeline: Any, obeys: Mapping[str, bool]) -> dict[str, Any]:
    """Return what a pipeline is called with for a request that it obeys.

    A guidance that no argument carries is set on the part of the pipeline that does.
    """
    values = {argument: getattr(request, field) for field, argument in ARGUMENTS.items() if obeys[field]}
    # Pairs are (height, width) there, and null is the pipeline's own
    wanted = {
        argument: value[::-1] if isinstance(value, tuple) else value
        for argument, value in values.items()
        if value is not None
    }
    guidance = wanted.pop("guidance_scale", None)
    for carrier in _carriers(pipeline) if obeys["guidance_scale"] else ():
        part, _, attribute = carrier.rpartition(".")
        if part:
            setattr(getattr(pipeline, part), attribute, guidance)
        else:
            wanted[carrier] = guidance
    return wanted | further_arguments(family_of(pipeline), request)


def _carriers(pipeline: Any) -> list[str]:
    """Return what carries the guidance, of what the family has, as far as this pipeline has it."""
    takes = arguments_of(type(pipeline))
    return [
        one
        for one in family_of(pipeline).guidance
        if (getattr(pipeline, one.split(".")[0], None) if "." in one else takes.get(one)) is not None
    ]
