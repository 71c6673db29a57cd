"""Base models from a folder, a hub id or the bundle: always through diffusers, always from safetensors."""

import hashlib
import json
import re
from dataclasses import dataclass
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
from lycoris import bypass_sites, recompute_obstacles, shapes_of
from workers.models.components import components_of
from workers.models.describing import profile_of
from workers.models.folder import ModelFolder
from workers.models.opening import opened
from workers.models.servable import judge_channels, judge_pipeline
from workers.models.tokens import written

BUNDLED = "bundled:"
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
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
            BaseSites(
                fingerprint=fingerprint,
                sites=bypass_sites(self.components),
                fixed=recompute_obstacles(self.components),
            ),
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


def load(name: str, settings: Settings) -> LoadedModel:
    """Load the model called `name` in the settings onto its device.

    Sets the number of CPU threads first: it is part of what a picture is made with. Raises KeyError for a name that is
    not in the settings, OSError when there is no such model, Unservable when it cannot be drawn with, BadSettings when
    there is no such device.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    diffusers_logging.set_verbosity_error()  # what matters is an exception, or in the profile
    diffusers_logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    folder = find(settings.models[name])
    device = _usable(_device(settings.device))
    whole = ModelFolder(folder)
    judge_pipeline(whole.index["_class_name"])
    judge_channels(whole)
    whole.judge()
    dtype = whole.stored_dtype() if settings.dtype == "auto" else getattr(torch, settings.dtype)
    if settings.dtype == "auto" and not computes(device, dtype):
        dtype = torch.float32
    pipeline = opened(whole, dtype).to(device)
    components = components_of(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    for module in components.values():
        module.requires_grad_(False).eval()
    profile = profile_of(name, folder, fingerprint(folder), pipeline, components, device, dtype, settings)
    return LoadedModel(pipeline, components, profile, folder)


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
