"""Models from their published configurations, without numbers: names and shapes as they are in the wild."""

import functools
import importlib
import json
import warnings
from pathlib import Path

import torch
from torch import nn

MODELS = json.loads((Path(__file__).parent / "models.json").read_text())


@functools.cache
def model(name: str) -> dict[str, nn.Module]:
    """Return component -> module, on the meta device, of a model in models.json; always the same one."""
    return build(name)


def build(name: str) -> dict[str, nn.Module]:
    """Return such a model, made anew: to be changed."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # diffusers warns of its own models' parts
        return {component: _module(*described) for component, described in MODELS[name].items()}


def _module(path: str, config: dict[str, object]) -> nn.Module:
    library, name = path.split(".")
    package = importlib.import_module(library)
    kind = getattr(package, name)
    if library == "diffusers":
        return kind(**config)
    return kind(kind.config_class(**config))
