"""The weights of a base model in its own files, mapped into memory: what they were when they were loaded."""

import os
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from lycoris.errors import FileRefused
from lycoris.files.safetensors_file import DTYPES, judge_file

Place = tuple[Path, int, torch.dtype, tuple[int, ...]]  # the file, the first byte, and how to read from there on


class MappedFolder:
    """Finds parameters of a diffusers folder, in `<component>/*.safetensors`, in every file that names them.

    A file that is not read here (an odd header, a dtype that no weight has) is none of its. Nothing is ever written
    through it, what is not asked for is not read, and no header before anything is.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._maps: dict[Path, Tensor] = {}

    @cached_property
    def _places(self) -> dict[tuple[str, str], list[Place]]:
        places: dict[tuple[str, str], list[Place]] = defaultdict(list)
        for path in sorted(self._folder.glob("*/*.safetensors")):
            try:
                header = judge_file(path)
            except FileRefused:
                continue
            for name, entry in header.entries.items():
                place = (path, header.data_begin + entry.begin, DTYPES[entry.dtype], entry.shape)
                places[path.parent.name, name].append(place)
        return places

    def __call__(self, component: str, parameter: str) -> Iterator[Tensor]:
        """Yield what the files hold under the name of a parameter (a folder may hold several variants)."""
        for path, begin, dtype, shape in self._places.get((component, parameter), ()):
            if begin % dtype.itemsize == 0:  # else it cannot be read where it lies
                yield self._mapped(path)[begin : begin + prod(shape) * dtype.itemsize].view(dtype).view(shape)

    def _mapped(self, path: Path) -> Tensor:
        if path not in self._maps:
            size = path.stat().st_size
            self._maps[path] = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
        return self._maps[path]
