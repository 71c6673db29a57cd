"""Components of a pipeline that can take adapters: what denoises, and what runs before (prompt readers, a prior)."""

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import diffusers
import transformers
from torch import nn

from app.shared.wire.adapter import denoises

IMAGE_ENCODER = "image_encoder"  # what reads the pictures of image prompts
LIBRARIES = {"diffusers": diffusers, "transformers": transformers}  # from which a component's class is taken here
# As diffusers names them in every pipeline: autoencoders, encoders of pictures and checkers have other names
ADAPTABLE = re.compile(
    r"(prior_)?(text_encoder|text_conditioner)(_\d)?|(prior_|unconditional_)?(unet|transformer|prior|decoder)(_\d)?"
)


def components_of(pipeline: Any) -> dict[str, nn.Module]:
    """Return the components that can take adapters, by name, those that denoise first."""
    parts = getattr(pipeline, "components", None) or vars(pipeline)
    found = {name: part for name, part in parts.items() if isinstance(part, nn.Module) and ADAPTABLE.fullmatch(name)}
    return {name: found[name] for name in sorted(found, key=lambda name: (not denoises(name), name))}


def denoiser_of(parts: Iterable[str]) -> str | None:
    """Return the part that denoises, the first of several; None where none does."""
    return next((part for part in parts if ADAPTABLE.fullmatch(part) and denoises(part)), None)


def made_of(pipeline: Any, components: Mapping[str, nn.Module]) -> dict[str, Any] | None:
    """Return how the denoiser is made, as `BaseDenoiser` has it; None without one, or with several."""
    found = [name for name in components if denoises(name)]
    pixels = getattr(pipeline, "vae_scale_factor", None) or getattr(pipeline, "vae_scale_factor_spatial", None)
    config = getattr(components[found[0]], "config", None) if len(found) == 1 else None
    if config is None or not pixels:
        return None
    said = {name: value for name, value in dict(config).items() if not name.startswith("_")}
    plain = json.loads(json.dumps(said, default=str))
    return {"component": found[0], "made": type(components[found[0]]).__name__, "config": plain, "pixels": pixels}


def takes_image_encoder(pipeline: Any) -> bool:
    """Tell whether a class of pipelines has a place for an image encoder, whether or not a folder has one."""
    return pipeline is not None and IMAGE_ENCODER in inspect.signature(pipeline.__init__).parameters


def class_of(library: str, name: str) -> Any:
    """Return the class of a component, as `model_index.json` names it; None where its library has none of that name."""
    return getattr(LIBRARIES.get(library), name, None)
