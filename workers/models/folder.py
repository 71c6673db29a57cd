"""A diffusers folder before it is loaded: whole, of safetensors alone, and of which dtype.

What a download left out, or a pickle in place of weights, is told in a sentence here: diffusers says it in the words of
whichever loader met it first, or loads an empty tokenizer.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors import SafetensorError, safe_open
from torch import nn

from app.shared.wire.adapter import denoises
from workers.models.components import ADAPTABLE

INDEX = "model_index.json"
LIBRARIES = {"diffusers": diffusers, "transformers": transformers}  # from which a component's class is taken here
PICKLES = ("*.bin", "*.ckpt", "*.pt", "*.pth")
LEFT_OUT = ("safety_checker",)  # components that are not loaded
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class Unservable(ValueError):
    """A base that cannot be served; the message is a sentence that says what is wrong and where."""


class ModelFolder:
    """A folder that holds a pipeline as diffusers writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def index(self) -> dict[str, Any]:
        """What `model_index.json` says; raises Unservable."""
        try:
            found = json.loads((self.path / INDEX).read_text())
        except FileNotFoundError as error:
            raise Unservable(f"{self.path} has no {INDEX}, so it is no model folder as diffusers writes it") from error
        except ValueError as error:
            raise Unservable(f"{self.path / INDEX} is no JSON: {error}") from error
        if not isinstance(found, dict) or not isinstance(found.get("_class_name"), str):
            raise Unservable(f"{self.path / INDEX} does not name the class of a pipeline in `_class_name`")
        return found

    def judge(self) -> None:
        """Raise Unservable where a component has no folder, or a model no whole weights in safetensors files."""
        for part, (library, kind) in self._components():
            if not (self.path / part).is_dir():
                raise Unservable(f"{self.path} has no folder {part!r}, which {INDEX} names: download it whole")
            if library in LIBRARIES and _is_model(library, kind):
                for file in self._weights(part):
                    _judge_weights(file)

    def stored_dtype(self) -> torch.dtype:
        """Return the floating dtype in which most of the denoiser's weights are stored; float32 where it has none."""
        denoisers = [part for part, _ in self._components() if ADAPTABLE.fullmatch(part) and denoises(part)]
        sizes: Counter[str] = Counter()
        for file in self._weights(denoisers[0]) if denoisers else ():
            with safe_open(file, "pt") as weights:
                for name in weights.keys():  # noqa: SIM118  # no mapping
                    tensor = weights.get_slice(name)
                    sizes[tensor.get_dtype()] += prod(tensor.get_shape())
        floats = {dtype: sizes[name] for name, dtype in DTYPES.items() if sizes[name]}
        return max(floats, key=floats.__getitem__, default=torch.float32)

    def setting(self, part: str, name: str) -> Any:
        """Return a value of a component's `config.json`; None where it has none, or that cannot be read."""
        with suppress(OSError, ValueError):
            config = json.loads((self.path / part / "config.json").read_text())
            return config.get(name) if isinstance(config, dict) else None
        return None

    def _components(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """Yield the components that are loaded, with the library and the name of their class."""
        for part, kind in self.index.items():
            named = isinstance(kind, list) and len(kind) == 2 and all(isinstance(one, str) for one in kind)
            if named and part not in LEFT_OUT:
                yield part, (kind[0], kind[1])

    def _weights(self, part: str) -> list[Path]:
        """Return the files that hold a model's weights, every shard; raises Unservable where one is missing."""
        folder = self.path / part
        for index in sorted(folder.glob("*.safetensors.index.json")):
            if len(index.name.split(".")) == 4:  # not of a variant, as `model.fp16.…`
                names = _shards(index)
                if missing := [name for name in names if not (folder / Path(name).name).is_file()]:
                    raise Unservable(f"{folder} lacks {len(missing)} of {len(names)} shards: {', '.join(missing[:3])}")
                return [folder / Path(name).name for name in names]
        whole = sorted(folder.glob("*.safetensors"))
        if found := [file for file in whole if len(file.name.split(".")) == 2]:
            return found
        if whole:
            variant = whole[0].name.split(".")[1]
            raise Unservable(f"{folder} has its weights as the variant {variant!r} alone; rename them without it")
        if pickles := sorted(file.name for pattern in PICKLES for file in folder.glob(pattern)):
            raise Unservable(
                f"{folder / pickles[0]} is a pickle, which could run any code, and is not opened: have the weights as "
                "safetensors"
            )
        raise Unservable(f"{folder} has no weights (*.safetensors): download it whole")


def _is_model(library: str, kind: str) -> bool:
    """Tell whether a class of a library is of models, which have weights."""
    found = getattr(LIBRARIES[library], kind, None)
    return isinstance(found, type) and issubclass(found, nn.Module)


def _shards(index: Path) -> list[str]:
    """Return the names of the files that an index of shards says hold the weights."""
    try:
        return sorted({str(name) for name in json.loads(index.read_text())["weight_map"].values()})
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise Unservable(f"{index} does not say which files hold the weights: download it again") from error


def _judge_weights(file: Path) -> None:
    try:
        with safe_open(file, "pt"):
            pass
    except SafetensorError as error:
        raise Unservable(f"{file} is no whole safetensors file ({error}): download it again") from error
