"""A loaded pipeline's profile: what everybody else knows of a base, put together once, when it is loaded."""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from app.shared.disobedience import disobeyed
from app.shared.settings import Settings
from app.shared.wire.generation import Apply, GenerationRequest
from app.shared.wire.model import OWN_ENCODER, ModelProfile
from lycoris import TEXT_ENCODERS, blocks_of, shapes_of
from workers.control.classes import DENOISERS
from workers.image_prompts.encoder import described, own_encoder, takes_image_prompts
from workers.models.components import made_of
from workers.models.device_memory import most_pixels
from workers.models.families import family_of
from workers.models.folder import Unservable
from workers.models.inpainting import inpaint_of
from workers.models.latents import rounds_up, why_from_none
from workers.models.obeys import (
    fixed_sizes,
    longest_edge,
    max_clip_skip,
    most_steps,
    native_size,
    negative_over,
    obeyed,
    own_guidance,
    own_steps,
    size_multiple,
    takes_masks,
)
from workers.models.own import OWN, Own
from workers.models.quantising import libraries, quantisations
from workers.models.references import shown_to
from workers.models.sampler_trial import offer
from workers.models.sources import Source
from workers.models.tokens import limits
from workers.models.weighted_prompts import reads_any_length

LIBRARIES = ("accelerate", "diffusers", "pillow", "radiata", "tokenizers", "torch", "transformers")
WHERE_FOUND = ("ftfy",)  # with which the modules of some pipelines change a prompt, if it happens to be installed
EDGE_OVER_NATIVE = 2  # beyond twice the size it was trained at, a model repeats itself


def profile_of(
    name: str,
    source: Source,
    fingerprint: str,
    pipeline: Any,
    components: dict[str, nn.Module],
    device: torch.device,
    dtype: torch.dtype,
    settings: Settings,
) -> ModelProfile:
    """Return what a pipeline is and obeys, called `name`; raises Unservable for a `radiata.json` that cannot hold."""
    own, obeys, guidance = source.own, obeyed(pipeline), own_guidance(pipeline)
    width, height = native_size(pipeline)
    width, height = own.width or width, own.height or height
    if obeys["guidance_scale"] and own.guidance_scale is not None:
        guidance = own.guidance_scale
    max_edge = int(min(max(width, height) * EDGE_OVER_NATIVE, longest_edge(pipeline)))
    offered = offer(getattr(pipeline, "scheduler", None), family_of(pipeline).without)
    obeys["eta"] &= bool(offered.eta)
    profile = ModelProfile(
        name=name,
        fingerprint=fingerprint,
        pipeline=type(pipeline).__name__,
        components=list(components),
        dtype=str(dtype).removeprefix("torch."),
        device=device.type,
        threads=torch.get_num_threads() if device.type == "cpu" else None,
        width=width,
        height=height,
        max_edge=max_edge,
        steps=own.steps or min(own_steps(pipeline), settings.max_steps),
        guidance_scale=guidance,
        samplers=offered.samplers,
        sampler_sigmas=offered.sigmas,
        sampler_steps=offered.steps,
        eta_samplers=offered.eta if obeys["eta"] else [],
        max_clip_skip=max_clip_skip(pipeline),
        long_prompts=reads_any_length(pipeline),
        suggestions=list(own.suggestions),
        obeys=obeys,
        size_multiple=size_multiple(pipeline),
        sizes=[size for size in fixed_sizes(pipeline) if max(size) <= max_edge],
        max_pixels=most_pixels(pipeline, device.type),
        max_steps=most_steps(pipeline),
        why_from_none=why_from_none(pipeline),
        inpaint=inpaint_of(pipeline),
        max_references=shown_to(pipeline).most,
        min_references=shown_to(pipeline).least,
        reference_edge=shown_to(pipeline).edge,
        reference_aspect=shown_to(pipeline).times,
        denoise_rounding="up" if rounds_up(pipeline) else "down",
        negative_over=negative_over(pipeline),
        tokens=limits(pipeline),
        apply_modes=[*get_args(Apply)],
        adapter_kinds=[
            "weights",
            *(["embedding"] if _takes_embeddings(components) else []),
            *(["control"] if takes_control(pipeline, components) else []),
            *(["image_prompt"] if takes_image_prompts(pipeline) else []),
        ],
        masks=takes_masks(pipeline),
        image_encoders={OWN_ENCODER: described(encoder)} if (encoder := own_encoder(pipeline)) else {},
        blocks=list(dict.fromkeys(block for module in components.values() for block in blocks_of(module))),
        quantised=quantisations(components),
        versions={library: version(library) for library in (*LIBRARIES, *found_by(pipeline), *libraries(components))},
    )
    _judge_own(source.folder, own, profile, settings)
    return profile


def found_by(pipeline: Any) -> list[str]:
    """Return the libraries of WHERE_FOUND that a pipeline's module has found."""
    module = sys.modules[type(pipeline).__module__]
    return [library for library in WHERE_FOUND if hasattr(module, library)]


def _judge_own(folder: Path, own: Own, profile: ModelProfile, settings: Settings) -> None:
    """Refuse what the folder says where a request could not have it: with it, all that leave it open would fail."""
    if own.guidance_scale not in (None, profile.guidance_scale):
        message = f"guidance_scale is {own.guidance_scale:g}, and {profile.pipeline} obeys none"
        raise Unservable(f"{folder / OWN} cannot be used: {message}")
    if profile.steps > settings.max_steps:
        message = f"steps is {profile.steps}, and RADIATA_MAX_STEPS allows {settings.max_steps}"
        raise Unservable(f"{folder / OWN} cannot be used: {message}")
    if own.width or own.height or own.steps:
        picture = "" if profile.inpaint == "native" else None
        asked = GenerationRequest.model_construct(
            prompt="a",
            width=profile.width,
            height=profile.height,
            steps=profile.steps,
            reference_images=[""] * profile.min_references,
            init_image=picture,
            mask_image=picture,
        )
        for wrong in disobeyed(profile, asked):
            raise Unservable(f"{folder / OWN} cannot be used: {wrong.message}")


def _takes_embeddings(components: dict[str, nn.Module]) -> bool:
    """Tell whether a component has a table of tokens that a file's textual inversion may be for."""
    return any(
        name.endswith(ending)
        for _, component, ending in TEXT_ENCODERS
        if component in components
        for name in shapes_of(components[component])
    )


def takes_control(pipeline: Any, components: dict[str, nn.Module]) -> bool:
    """Tell whether there are control nets for the denoiser of a pipeline."""
    made = made_of(pipeline, components)
    # A Z-Image-Omni is of Z-Image's class, and reads its pictures otherwise
    return made is not None and made["made"] in DENOISERS and made["config"].get("siglip_feat_dim") is None
