"""A diffusers folder before it is loaded: whole, of safetensors alone, and of which dtype.

Some of its parts may be elsewhere: in one file of several parts, in a folder or a file of their own, or left out.
What a download left out, or a pickle in place of weights, is told in a sentence here: diffusers says it in the words of
whichever loader met it first, or loads an empty tokenizer.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn

from workers.models.checkpoint import Checkpoint
from workers.models.components import IMAGE_ENCODER, class_of, denoiser_of
from workers.models.inpainting import OPENED_AS
from workers.models.weight_files import Stored, Unservable, dtype_of, header_of, weights_of

INDEX = "model_index.json"
CONFIG = "config.json"
SCHEDULER = "scheduler"
LEFT_OUT = ("safety_checker",)  # components that are not loaded

__all__ = ["INDEX", "ModelFolder", "Unservable"]


class ModelFolder:
    """A folder that holds a pipeline as diffusers writes it, and what is in place of its parts."""

    def __init__(
        self, path: Path, checkpoint: Checkpoint | None = None, parts: Mapping[str, Path | None] | None = None
    ) -> None:
        self.path = path
        self.checkpoint = checkpoint
        self.parts = parts or {}
        self._tensors: dict[str, Mapping[str, Stored]] = {}

    @cached_property
    def index(self) -> dict[str, Any]:
        """What `model_index.json` says, with what parts from elsewhere are in place of it; raises Unservable."""
        index = self._written()
        index["_class_name"] = OPENED_AS.get(index["_class_name"], index["_class_name"])
        for part, place in self.parts.items():
            if place is None:
                index[part] = [None, None]
            elif place.is_dir() and (kind := self.setting(part, "_class_name")) and hasattr(diffusers, kind):
                index[part] = ["diffusers", kind]
            elif part == IMAGE_ENCODER and index.get(part) in (None, [None, None]):  # most folders come without one
                index[part] = ["transformers", "CLIPVisionModelWithProjection"]
        return index

    @property
    def has_safety_checker(self) -> bool:
        """Whether it has a model that judges pictures, which is not loaded."""
        return any((self.index.get(part) or [None])[0] for part in LEFT_OUT)

    @property
    def renamed(self) -> bool:
        """Whether it is opened as another class than it says."""
        return self.index["_class_name"] != self._written()["_class_name"]

    @cached_property
    def files(self) -> dict[str, Checkpoint]:
        """The parts whose weights are in a single file, with that file; raises Unservable."""
        found: dict[str, Checkpoint] = {}
        if self.checkpoint:
            self.checkpoint.judge()
            found |= dict.fromkeys(self.checkpoint.parts(self.index), self.checkpoint)
        found |= {part: Checkpoint(file, part) for part, file in self.parts.items() if file and file.is_file()}
        # What else a file has is not of this pipeline; what is elsewhere is not taken from it
        models = {part for part, _ in self.models()}
        elsewhere = {part for part, place in self.parts.items() if place is None or place.is_dir()}
        return {
            part: file for part, file in found.items() if part in models - elsewhere and file.makes(self.index[part])
        }

    def judge(self) -> None:
        """Raise Unservable where a component has no folder, or a model no whole weights in safetensors files."""
        if SCHEDULER not in dict(self.components()):
            raise Unservable(f"{self.path / INDEX} names no {SCHEDULER!r}: no picture is drawn without one")
        for part, (library, kind) in self.components():
            place = self.place(part)
            if not place.is_dir():
                raise Unservable(f"{self.path} has no folder {part!r}, which {INDEX} names: download it whole")
            if file := self.files.get(part):
                if not (place / CONFIG).is_file():
                    raise Unservable(f"{place} has no {CONFIG}, which goes with the weights in {file.path}")
            elif _is_model(library, kind):
                self.tensors(part)

    def stored_dtype(self) -> torch.dtype:
        """Return the floating dtype in which most of the denoiser's weights are stored; float32 where it has none."""
        part = denoiser_of(part for part, _ in self.components())
        if part is None:
            return torch.float32
        return dtype_of(self.tensors(part).values())

    def tensors(self, part: str) -> Mapping[str, Stored]:
        """Return the tensors that a model is made of, by their names in its files, whose headers are read once.

        Raises Unservable where a file is missing or not whole.
        """
        if part not in self._tensors:
            if file := self.files.get(part):
                self._tensors[part] = file.parts(self.index)[part]
            else:
                headers = [header_of(one) for one in self.weights(part)]
                self._tensors[part] = {name: one for header in headers for name, one in header.items()}
        return self._tensors[part]

    def weights(self, part: str) -> list[Path]:
        """Return the files of a model's weights; raises Unservable where one is missing."""
        file = self.files.get(part)
        return [file.path] if file else weights_of(self.place(part))

    def place(self, part: str) -> Path:
        """Return the folder of a part: of its configuration, and of its weights where no single file has them."""
        place = self.parts.get(part)
        return place if place and place.is_dir() else self.path / part

    def setting(self, part: str, name: str) -> Any:
        """Return a value of a component's `config.json`; None where it has none, or that cannot be read."""
        with suppress(OSError, RecursionError, ValueError):
            config = json.loads((self.place(part) / CONFIG).read_text())
            return config.get(name) if isinstance(config, dict) else None
        return None

    def components(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """Yield the components that are loaded, with the library and the name of their class."""
        for part, kind in self.index.items():
            named = isinstance(kind, list) and len(kind) == 2 and all(isinstance(one, str) for one in kind)
            if named and part not in LEFT_OUT:
                yield part, (kind[0], kind[1])

    def models(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """Yield the components that have weights, as `components` does."""
        return ((part, kind) for part, kind in self.components() if _is_model(*kind))

    def _written(self) -> dict[str, Any]:
        try:
            found = json.loads((self.path / INDEX).read_text())
        except FileNotFoundError as error:
            raise Unservable(f"{self.path} has no {INDEX}, so it is no model folder as diffusers writes it") from error
        except (RecursionError, ValueError) as error:
            raise Unservable(f"{self.path / INDEX} is no JSON: {error}") from error
        if not isinstance(found, dict) or not isinstance(found.get("_class_name"), str):
            raise Unservable(f"{self.path / INDEX} does not name the class of a pipeline in `_class_name`")
        return found


def _is_model(library: str, kind: str) -> bool:
    """Tell whether a class of a library is of models, which have weights."""
    found = class_of(library, kind)
    return isinstance(found, type) and issubclass(found, nn.Module)
