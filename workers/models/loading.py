"""Base models from a folder, a hub id or the bundle: always through diffusers, always from safetensors."""

import hashlib
import json
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from torch import nn

from app.shared.facts import BaseSites, BaseTokenizers
from app.shared.profiles import Shapes
from app.shared.settings import BadSettings, Settings
from app.shared.wire.model import ModelProfile
from lycoris import blocks_of, bypass_sites, shapes_of
from workers.models.components import components_of
from workers.models.obeys import (
    fixed_sizes,
    most_steps,
    native_size,
    negative_over,
    obeyed,
    own_guidance,
    own_steps,
    size_multiple,
)
from workers.models.processors import with_prompt_processors
from workers.models.sampler_trial import offer
from workers.models.tokens import limits, written

BUNDLED = "bundled:"
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
LIBRARIES = ("accelerate", "diffusers", "pillow", "radiata", "tokenizers", "torch", "transformers")
DEFAULTS = "radiata.json"  # in a model folder: {"steps", "guidance_scale", "width", "height", "suggestions"}
EDGE_OVER_NATIVE = 2  # beyond twice the size it was trained at, a model repeats itself
HASH_CHUNK = 1 << 20


@dataclass(frozen=True)
class LoadedModel:
    """A loaded base model: the pipeline, the components that can take adapters, and its profile."""

    pipeline: Any
    components: dict[str, nn.Module]
    profile: ModelProfile
    folder: Path

    def shapes(self) -> Shapes:
        """Shapes of all parameters, by component and name; tied ones under each of their names, as a file may say."""
        return {
            component: {name: list(shape) for name, shape in shapes_of(module).items()}
            for component, module in self.components.items()
        }

    def facts(self) -> list[BaseTokenizers | BaseSites]:
        """What acceptance and intake judge by, without the model."""
        fingerprint = self.profile.fingerprint
        return [
            BaseTokenizers(fingerprint=fingerprint, tokenizers=written(self.pipeline) or []),
            BaseSites(fingerprint=fingerprint, sites=bypass_sites(self.components)),
        ]


def find(source: str) -> Path:
    """The folder of a model source; a hub id is downloaded first. Raises FileNotFoundError for a bundle that is not."""
    if source.startswith(BUNDLED):
        folder = Path(__file__).parent / source.removeprefix(BUNDLED)
        if not (folder / "model_index.json").is_file():
            raise FileNotFoundError(f"no bundled model {source.removeprefix(BUNDLED)!r}")
        return folder
    if Path(source).is_dir():
        return Path(source)
    if not HUB_ID.fullmatch(source):
        raise FileNotFoundError(f"there is no folder {source!r}, and a hub id is of the form owner/name")
    return Path(DiffusionPipeline.download(source, use_safetensors=True))


def load(name: str, settings: Settings) -> LoadedModel:
    """Load the model called `name` in the settings onto its device.

    Sets the number of CPU threads first: it is part of what a picture is made with. Raises KeyError for a name that is
    not in the settings, OSError when there is no such model, BadSettings when there is no such device, or its pipeline
    cannot be used.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    diffusers_logging.set_verbosity_error()  # what matters is an exception, or in the profile
    diffusers_logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    folder = find(settings.models[name])
    device = _usable(_device(settings.device))
    dtype = _dtype(settings.dtype, device)
    with with_prompt_processors(folder) as source:
        pipeline = DiffusionPipeline.from_pretrained(
            source, dtype=dtype, use_safetensors=True, local_files_only=True, safety_checker=None
        )
    pipeline = pipeline.to(device)
    components = components_of(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    for module in components.values():
        module.requires_grad_(False).eval()
    return LoadedModel(pipeline, components, _profile(name, folder, pipeline, components, device, dtype), folder)


def _device(asked: str) -> str:
    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _usable(name: str) -> torch.device:
    """The device of that name; raises BadSettings when nothing can be put there."""
    try:
        torch.empty(1, device=name)
    except (AssertionError, RuntimeError) as error:
        why = str(error).splitlines()[0]
        raise BadSettings(f"RADIATA_DEVICE: {name} cannot be used on this machine ({why})") from error
    return torch.device(name)


def _dtype(asked: str, device: torch.device) -> torch.dtype:
    if asked == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    return getattr(torch, asked)


def _profile(
    name: str,
    folder: Path,
    pipeline: Any,
    components: dict[str, nn.Module],
    device: torch.device,
    dtype: torch.dtype,
) -> ModelProfile:
    path = folder / DEFAULTS
    defaults = json.loads(path.read_text()) if path.is_file() else {}
    width, height = native_size(pipeline)
    width, height = defaults.get("width", width), defaults.get("height", height)
    obeys = _obeyed(name, pipeline)
    guidance = own_guidance(pipeline)
    offered = offer(getattr(pipeline, "scheduler", None))
    return ModelProfile(
        name=name,
        fingerprint=fingerprint(folder),
        pipeline=type(pipeline).__name__,
        components=list(components),
        dtype=str(dtype).removeprefix("torch."),
        device=device.type,
        threads=torch.get_num_threads() if device.type == "cpu" else None,
        width=width,
        height=height,
        max_edge=max(width, height) * EDGE_OVER_NATIVE,
        steps=defaults.get("steps", own_steps(pipeline)),
        guidance_scale=defaults.get("guidance_scale", guidance) if obeys["guidance_scale"] else guidance,
        samplers=offered.samplers,
        sigmas=offered.sigmas,
        sampler_steps=offered.steps,
        suggestions=defaults.get("suggestions", []),
        obeys=obeys,
        size_multiple=size_multiple(pipeline),
        sizes=fixed_sizes(pipeline),
        max_steps=most_steps(pipeline),
        negative_over=negative_over(pipeline),
        tokens=limits(pipeline),
        blocks=list(dict.fromkeys(block for module in components.values() for block in blocks_of(module))),
        versions={library: version(library) for library in LIBRARIES},
    )


def _obeyed(name: str, pipeline: Any) -> dict[str, bool]:
    try:
        return obeyed(pipeline)
    except ValueError as error:
        raise BadSettings(f"RADIATA_MODELS: {name}: {error}") from error


def fingerprint(folder: Path) -> str:
    """sha256 over every file of a diffusers folder that decides what it draws: weights and configurations."""
    total = hashlib.sha256()
    subfolders = [part for part in folder.iterdir() if part.is_dir() and _is_component(part, folder)]
    files = [folder / "model_index.json", *(file for part in subfolders for file in part.iterdir() if file.is_file())]
    for file in sorted(files):
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while chunk := stream.read(HASH_CHUNK):
                digest.update(chunk)
        total.update(f"{file.relative_to(folder).as_posix()}\0{digest.hexdigest()}\n".encode())
    return total.hexdigest()


def _is_component(part: Path, folder: Path) -> bool:
    return part.name in json.loads((folder / "model_index.json").read_text())
