"""The weights of a base model in its own files, mapped into memory: what they were when they were loaded."""

import os
from collections.abc import Iterator
from functools import cache
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from lycoris.adapter import DTYPES
from lycoris.files import judge_file


class MappedFolder:
    """Finds parameters of a diffusers folder, in `<component>/*.safetensors`, in every file that names them.

    Raises FileRefused if a header is bad. Nothing is ever written through it, and what is not asked for is not read.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._places: dict[tuple[str, str], list[tuple[Path, int, torch.dtype, tuple[int, ...]]]] = {}
        for path in sorted(Path(folder).glob("*/*.safetensors")):
            header = judge_file(path)
            for name, entry in header.entries.items():
                place = (path, header.data_begin + entry.begin, DTYPES[entry.dtype], entry.shape)
                self._places.setdefault((path.parent.name, name), []).append(place)

    def __call__(self, component: str, parameter: str) -> Iterator[Tensor]:
        """Yield what the files hold under the name of a parameter (a folder may hold several variants)."""
        for path, begin, dtype, shape in self._places.get((component, parameter), ()):
            if begin % dtype.itemsize == 0:  # else it cannot be read where it lies
                yield _mapped(path)[begin : begin + prod(shape) * dtype.itemsize].view(dtype).view(shape)


@cache
def _mapped(path: Path) -> Tensor:
    return torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
