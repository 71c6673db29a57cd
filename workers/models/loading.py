"""Base models onto their device: always through diffusers, always from safetensors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from diffusers.utils import logging as diffusers_logging
from torch import nn

from app.shared.base_source import Quantize
from app.shared.facts import BaseDenoiser, BaseSites, BaseTokenizers
from app.shared.profiles import BaseFacts, Shapes
from app.shared.settings import BadSettings, Settings
from app.shared.wire.model import OWN_ENCODER, ModelProfile
from lycoris import bypass_sites, merge_obstacles, recompute_obstacles, shapes_of
from workers.control.preprocessors import fingerprints
from workers.image_prompts.encoder import described, own_encoder, takes_image_prompts
from workers.models.components import IMAGE_ENCODER, components_of, made_of
from workers.models.describing import profile_of
from workers.models.fingerprint import Digests, fingerprint, part_fingerprint
from workers.models.folder import ModelFolder
from workers.models.image_encoders import in_its_place, opened_encoder
from workers.models.opening import opened
from workers.models.quantising import quantise
from workers.models.servable import judge_channels, judge_pipeline
from workers.models.sources import Source, source_of
from workers.models.tokens import written
from workers.models.trainable import base_layers


@dataclass(frozen=True)
class LoadedModel:
    """A loaded base model: the pipeline, the components that can take adapters, and its profile."""

    pipeline: Any
    components: dict[str, nn.Module]
    profile: ModelProfile
    folder: Path
    image_encoders: Mapping[str, Any] = field(default_factory=dict)  # by name

    def shapes(self) -> Shapes:
        """Shapes of all parameters, by component and name; tied ones under each of their names, as a file may say."""
        return {
            component: {name: list(shape) for name, shape in shapes_of(module).items()}
            for component, module in self.components.items()
        }

    def facts(self) -> list[BaseFacts]:
        """What acceptance and intake judge by, without the model."""
        fingerprint, denoiser = self.profile.fingerprint, self.denoiser()
        return [
            BaseTokenizers(fingerprint=fingerprint, tokenizers=written(self.pipeline) or []),
            BaseSites(
                fingerprint=fingerprint,
                sites=bypass_sites(self.components),
                fixed=recompute_obstacles(self.components),
                unmergeable=merge_obstacles(self.components),
            ),
            base_layers(fingerprint, self.pipeline, self.components),
            *([denoiser] if denoiser else []),
        ]

    def denoiser(self) -> BaseDenoiser | None:
        """How the denoiser is made; None where there is none, or several share the work."""
        made = made_of(self.pipeline, self.components)
        return BaseDenoiser(fingerprint=self.profile.fingerprint, **made) if made else None


def computes(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether a device computes in a dtype.

    A CPU does in bfloat16 as in float32, and in float16 only where it is new enough: elsewhere that is slower than
    float32, which holds every value of it. So what is stored in float16 is drawn with in float32 there, as it always
    was.
    """
    if device.type == "cpu":
        return dtype is not torch.float16
    if device.type == "cuda" and dtype is torch.bfloat16:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        one = torch.ones(8, 8, dtype=dtype, device=device)
        return bool((one @ one).isfinite().all())
    except (RuntimeError, TypeError):
        return False


@dataclass(frozen=True)
class Prepared:
    """A base that was judged and not loaded yet, and what it will be loaded as."""

    source: Source
    folder: ModelFolder
    device: torch.device
    dtype: torch.dtype
    quantize: Quantize | None
    image_encoders: Mapping[str, ModelFolder]  # further ones, each in place of its own in this folder


def prepared(name: str, settings: Settings) -> Prepared:
    """Judge the files of the model called `name`, before anything of them is loaded; raises what `load` raises."""
    diffusers_logging.set_verbosity_error()  # what matters is an exception, or in the profile
    diffusers_logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    said = settings.base(name)
    source = source_of(said)
    device = _usable(_device(settings.device))
    whole = source.opened()
    judge_pipeline(whole.index["_class_name"])
    judge_channels(whole)
    whole.judge()
    asked = said.dtype or settings.dtype
    dtype = whole.stored_dtype() if asked == "auto" else getattr(torch, asked)
    if asked == "auto" and not computes(device, dtype):
        dtype = torch.float32
    encoders = {name: in_its_place(whole, place) for name, place in source.image_encoders.items()}
    return Prepared(source, whole, device, dtype, said.quantize, encoders)


def load(name: str, settings: Settings) -> LoadedModel:
    """Load the model called `name` in the settings onto its device.

    Sets the number of CPU threads first: it is part of what a picture is made with. Raises KeyError for a name that is
    not in the settings, OSError when there is no such model, Unservable when it cannot be drawn with, BadSettings when
    there is no such device.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    ready = prepared(name, settings)
    whole, device, dtype = ready.folder, ready.device, ready.dtype
    pipeline = opened(whole, dtype)
    if ready.quantize:
        quantise(components_of(pipeline), ready.quantize, dtype)
    pipeline = pipeline.to(device)
    components = components_of(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    for module in components.values():
        module.requires_grad_(False).eval()
    encoders = {OWN_ENCODER: own} if (own := own_encoder(pipeline)) else {}
    encoders |= {name: opened_encoder(one, dtype).to(device) for name, one in ready.image_encoders.items()}
    digests, apart = Digests(settings.data_dir / "cache" / "digests"), takes_image_prompts(pipeline)
    identity = fingerprint(whole, ready.quantize, (IMAGE_ENCODER,) if apart else (), digests)
    profile = profile_of(name, ready.source, identity, pipeline, components, device, dtype, settings)
    known = {
        name: described(encoder).model_copy(
            update={"fingerprint": part_fingerprint(ready.image_encoders.get(name, whole), IMAGE_ENCODER, digests)}
        )
        for name, encoder in encoders.items()
    }
    profile = profile.model_copy(update={"image_encoders": known})
    if whole.has_safety_checker:
        profile = profile.model_copy(update={"safety_checker": "unused"})
    if "control" in profile.adapter_kinds:
        profile = profile.model_copy(update={"preprocessors": fingerprints(settings)})
    return LoadedModel(pipeline, components, profile, ready.source.folder, encoders)


def _device(asked: str) -> str:
    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _usable(name: str) -> torch.device:
    """The device of that name, made this thread's own; raises BadSettings when nothing can be put there."""
    try:
        torch.empty(1, device=name)
    except (AssertionError, RuntimeError) as error:
        why = str(error).splitlines()[0]
        raise BadSettings(f"RADIATA_DEVICE: {name} cannot be used on this machine ({why})") from error
    device = torch.device(name)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # else what asks for memory or dtypes of "cuda" is told those of the first card
    return device
