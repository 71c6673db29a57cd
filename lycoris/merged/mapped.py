"""The weights of a base model in its own files, mapped into memory: what they were when they were loaded."""

import os
from collections.abc import Iterator
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from lycoris.adapter import DTYPES
from lycoris.errors import FileRefused
from lycoris.files import judge_file


class MappedFolder:
    """Finds parameters of a diffusers folder, in `<component>/*.safetensors`, in every file that names them.

    A file that is not read here (an odd header, a dtype that no weight has) is none of its. Nothing is ever written
    through it, and what is not asked for is not read.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._maps: dict[Path, Tensor] = {}
        self._places: dict[tuple[str, str], list[tuple[Path, int, torch.dtype, tuple[int, ...]]]] = {}
        for path in sorted(Path(folder).glob("*/*.safetensors")):
            try:
                header = judge_file(path)
            except FileRefused:
                continue
            for name, entry in header.entries.items():
                place = (path, header.data_begin + entry.begin, DTYPES[entry.dtype], entry.shape)
                self._places.setdefault((path.parent.name, name), []).append(place)

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
