"""What a base is and would obey, read off its configurations and the headers of its files: nothing is loaded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from app.shared.settings import Settings
from app.shared.wire.model import ModelProfile
from lycoris import architecture_of_model, shapes_of
from workers.models.components import components_of, denoiser_of
from workers.models.describing import profile_of
from workers.models.folder import ModelFolder
from workers.models.loading import prepared
from workers.models.outlined import outlined
from workers.models.weight_files import header_of, is_quantised, weights_of

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
    models = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    files = set(_files(ready.folder))
    return Look(
        profile=profile,
        family=family.name if family and family.sure else type(pipeline).__name__.removesuffix("Pipeline"),
        stored=stored,
        disk_bytes=sum(file.stat().st_size for file in files),
        memory_bytes=sum(_bytes(model, ready.dtype) for model in models),
    )


def _bytes(model: torch.nn.Module, dtype: torch.dtype) -> int:
    weights: dict[int, Any] = {id(weight): weight for weight in model.parameters()}
    return sum(weight.numel() * dtype.itemsize for weight in weights.values())


def _stored(folder: ModelFolder) -> list[str]:
    part = denoiser_of(part for part, _ in folder.components())
    if part is None:
        return []
    if file := folder.files.get(part):
        return sorted({one.dtype for one in file.parts(folder.index)[part].values()})
    return sorted({one.dtype for file in weights_of(folder.place(part)) for one in header_of(file).values()})


def _files(folder: ModelFolder) -> list[Path]:
    files = [file.path for file in folder.files.values()]
    return files + [
        file for part, _ in folder.models() if part not in folder.files for file in weights_of(folder.place(part))
    ]
