"""The weights of a diffusers folder, one tensor at a time: headers first, a tensor's bytes only when asked for."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from lycoris.errors import Code, FileRefused, Reason, shown
from lycoris.files.safetensors_file import DTYPES, judge_file

SHARD = re.compile(r"-\d{5}-of-\d{5}")  # model-00001-of-00002.safetensors

PLAIN = ("diffusion_pytorch_model.safetensors", "model.safetensors")  # what diffusers loads when no variant is named


@dataclass(frozen=True)
class Stored:
    """Where the bytes of one tensor lie."""

    path: Path
    begin: int  # bytes from the start of the file
    dtype: torch.dtype
    shape: tuple[int, ...]

    def read(self) -> Tensor:
        """Return the tensor as stored; raise FileRefused if its bytes are not there any more."""
        count = prod(self.shape) * self.dtype.itemsize
        with self.path.open("rb") as stream:
            stream.seek(self.begin)
            data = bytearray(stream.read(count))
        if len(data) != count:
            raise FileRefused([Reason(Code.TRUNCATED, shown(str(self.path)), "became shorter while it was read")])
        return torch.frombuffer(data, dtype=self.dtype).view(self.shape)

    def write(self, tensor: Tensor, path: Path) -> None:
        """Put a tensor of this dtype and shape into the same bytes of another file, a copy of this one."""
        assert (tensor.dtype, tuple(tensor.shape)) == (self.dtype, self.shape)
        data = tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.ndim else _scalar(tensor)
        with path.open("r+b") as stream:
            stream.seek(self.begin)
            stream.write(data)


@dataclass(frozen=True)
class Copy:
    """One whole copy of a component's weights: one file, or shards of it. A variant (`fp16`) is another copy."""

    component: str
    name: str  # its file, without the number of the shard
    stored: Mapping[str, Stored]  # parameter -> where it lies

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every parameter's shape."""
        return {parameter: stored.shape for parameter, stored in self.stored.items()}


def copies_of(folder: str | os.PathLike[str]) -> dict[str, tuple[Copy, ...]]:
    """Return component -> the copies of its weights in a diffusers folder, the one without a variant first.

    Raises FileRefused if a header is bad, two shards hold one name, or no component has safetensors weights.
    """
    found: dict[tuple[str, str], dict[str, Stored]] = defaultdict(dict)
    twice: list[Reason] = []
    for path in sorted(Path(folder).glob("*/*.safetensors")):
        header, copy = judge_file(path), found[path.parent.name, SHARD.sub("", path.name)]
        for name, entry in header.entries.items():
            if name in copy:
                message = f"is in {shown(path.name)} and in {shown(copy[name].path.name)}"
                twice.append(Reason(Code.DUPLICATE, name, message))
            copy[name] = Stored(path, header.data_begin + entry.begin, DTYPES[entry.dtype], entry.shape)
    if twice:
        raise FileRefused(twice)
    if not found:
        message = "no component folder with *.safetensors in it"
        raise FileRefused([Reason(Code.UNREADABLE, str(folder), message)])
    copies: dict[str, tuple[Copy, ...]] = {}
    for component, name in sorted(found, key=lambda key: (key[0], key[1] not in PLAIN, key[1])):
        copies[component] = (*copies.get(component, ()), Copy(component, name, found[component, name]))
    return copies


def shapes_of(copies: Mapping[str, tuple[Copy, ...]]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return component -> {parameter: shape}, of the first copy of each."""
    return {component: copy[0].shapes for component, copy in copies.items()}


def _scalar(tensor: Tensor) -> bytes:
    return tensor.view(1).view(torch.uint8).numpy().tobytes()
