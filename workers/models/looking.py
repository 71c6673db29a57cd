"""What a base is and would obey, read off its configurations and the headers of its files: nothing is loaded."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch

from app.shared.settings import Settings
from app.shared.wire.adapter import denoises
from app.shared.wire.model import ModelProfile
from lycoris import architecture_of_model, shapes_of
from workers.models.components import components_of, denoiser_of
from workers.models.describing import profile_of
from workers.models.folder import ModelFolder
from workers.models.loading import Prepared, prepared
from workers.models.outlined import outlined
from workers.models.quantising import BYTES, chosen
from workers.models.weight_files import bytes_of, is_quantised

UNREAD = ""  # in place of the fingerprint, which is a hash over every byte


@dataclass(frozen=True)
class Look:
    """What was found: the profile that the base would have, and what its files say of it.

    family: as the shapes of its layers tell, or the class of its pipeline. stored: dtypes of the denoiser's tensors.
    disk_bytes: of all files of weights. memory_bytes: of all weights as they would be loaded.
    """

    profile: ModelProfile
    family: str
    stored: list[str]
    disk_bytes: int
    memory_bytes: int


def look(name: str, settings: Settings) -> Look:
    """Return what there is to know of the model called `name` in the settings without loading it.

    Raises what `load` raises, but for what only weights can tell.
    """
    ready = prepared(name, settings)
    pipeline = outlined(ready.folder)
    components = components_of(pipeline)
    profile = profile_of(name, ready.source, UNREAD, pipeline, components, ready.device, ready.dtype, settings)
    stored = _stored(ready.folder)
    quantised = [ready.quantize] if ready.quantize else list(filter(is_quantised, stored))
    profile = profile.model_copy(update={"quantised": quantised})
    shapes = {component: shapes_of(module) for component, module in components.items()}
    family = architecture_of_model(shapes)
    models = {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    files = {file for part in models for file in ready.folder.weights(part)}
    return Look(
        profile=profile,
        family=family.name if family and family.sure else type(pipeline).__name__.removesuffix("Pipeline"),
        stored=stored,
        disk_bytes=sum(file.stat().st_size for file in files),
        memory_bytes=sum(_bytes(ready, part, model, components) for part, model in models.items()),
    )


def _bytes(ready: Prepared, part: str, model: Any, adaptable: Collection[str]) -> int:
    """Return the bytes of a model's weights in memory; what is quantised in its files stays as it is there."""
    stored = ready.folder.tensors(part).values()
    if hasattr(model.config, "quantization_config") or any(is_quantised(one.dtype) for one in stored):
        return sum(bytes_of(one, ready.dtype) for one in stored)
    quantize = ready.quantize if part in adaptable and denoises(part) else None
    smaller = {id(layer.weight): BYTES[quantize] for layer in chosen(model)} if quantize else {}
    weights = {id(weight): weight.numel() for weight in model.parameters()}
    return round(sum(many * smaller.get(which, ready.dtype.itemsize) for which, many in weights.items()))


def _stored(folder: ModelFolder) -> list[str]:
    part = denoiser_of(part for part, _ in folder.components())
    return sorted({one.dtype for one in folder.tensors(part).values()}) if part else []
