"""The weights in a diffusers folder: headers are read first, a tensor's bytes only when it is asked for."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from lycoris.errors import Code, FileRefused, Reason, shown
from lycoris.files.safetensors_file import DTYPES, judge_file

WEIGHTS = "*/*.safetensors"  # <component>/<file>
SHARD = re.compile(r"-\d{5}-of-\d{5}")  # model-00001-of-00002.safetensors
DEFAULT_FILES = ("diffusion_pytorch_model.safetensors", "model.safetensors")  # loaded when no variant is named


@dataclass(frozen=True)
class FileSpan:
    """The bytes of one tensor in a file."""

    path: Path
    begin: int  # bytes from the start of the file
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return prod(self.shape) * self.dtype.itemsize

    def read(self) -> Tensor:
        """Return the tensor as stored; raise FileRefused if the file has become shorter."""
        with self.path.open("rb") as stream:
            stream.seek(self.begin)
            data = bytearray(stream.read(self.nbytes))
        if len(data) != self.nbytes:
            raise FileRefused([Reason(Code.TRUNCATED, shown(str(self.path)), "became shorter while it was read")])
        return torch.frombuffer(data, dtype=self.dtype).view(self.shape)

    def write(self, tensor: Tensor, path: Path) -> None:
        """Write a tensor of this dtype and shape to the same bytes of another file, a copy of this one."""
        assert (tensor.dtype, tuple(tensor.shape)) == (self.dtype, self.shape)
        data = tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        with path.open("r+b") as stream:
            stream.seek(self.begin)
            stream.write(data)


@dataclass(frozen=True)
class Variant:
    """One complete set of a component's weights: a file, or its shards; `fp16` and the like are further variants."""

    component: str
    name: str  # of its file, without the number of the shard
    spans: Mapping[str, FileSpan]  # by parameter

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter."""
        return {parameter: span.shape for parameter, span in self.spans.items()}


def variants_of(folder: str | os.PathLike[str]) -> dict[str, tuple[Variant, ...]]:
    """Return component -> the variants of its weights in a diffusers folder, the default one first.

    Raises FileRefused if a header is bad, two shards hold one name, or no component has safetensors weights.
    """
    found: dict[tuple[str, str], dict[str, FileSpan]] = defaultdict(dict)
    repeated: list[Reason] = []
    for path in _files(folder):
        spans = found[path.parent.name, SHARD.sub("", path.name)]
        for name, span in _spans(path).items():
            if name in spans:
                message = f"is in {shown(path.name)} and in {shown(spans[name].path.name)}"
                repeated.append(Reason(Code.DUPLICATE, name, message))
            spans[name] = span
    if repeated:
        raise FileRefused(repeated)
    if not found:
        message = "no component folder with *.safetensors in it"
        raise FileRefused([Reason(Code.UNREADABLE, str(folder), message)])
    variants: dict[str, tuple[Variant, ...]] = {}
    for component, name in sorted(found, key=lambda key: (key[0], key[1] not in DEFAULT_FILES, key[1])):
        variants[component] = (*variants.get(component, ()), Variant(component, name, found[component, name]))
    return variants


def default_shapes(variants: Mapping[str, tuple[Variant, ...]]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return component -> {parameter: shape} of each component's default variant."""
    return {component: of_component[0].shapes for component, of_component in variants.items()}


class MappedFolder:
    """Finds a parameter in every file of a diffusers folder that has it, mapped into memory.

    Files that cannot be read (an odd header, an unknown dtype) are left out. Nothing is written through the mapping,
    and no header is read before the first call.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = folder
        self._maps: dict[Path, Tensor] = {}

    def __call__(self, component: str, parameter: str) -> Iterator[Tensor]:
        """Yield the tensors that the files have under the name of a parameter, one for each variant."""
        for span in self._spans.get((component, parameter), ()):
            if span.begin % span.dtype.itemsize == 0:  # a view of another dtype must be aligned
                stored = self._mapped(span.path)[span.begin : span.begin + span.nbytes]
                yield stored.view(span.dtype).view(span.shape)

    @cached_property
    def _spans(self) -> dict[tuple[str, str], list[FileSpan]]:
        found: dict[tuple[str, str], list[FileSpan]] = defaultdict(list)
        for path in _files(self._folder):
            try:
                spans = _spans(path)
            except FileRefused:
                continue
            for name, span in spans.items():
                found[path.parent.name, name].append(span)
        return found

    def _mapped(self, path: Path) -> Tensor:
        if path not in self._maps:
            size = path.stat().st_size
            self._maps[path] = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
        return self._maps[path]


def _files(folder: str | os.PathLike[str]) -> list[Path]:
    return sorted(Path(folder).glob(WEIGHTS))


def _spans(path: Path) -> dict[str, FileSpan]:
    """Return the tensors of a file by name; raise FileRefused for a bad header."""
    header = judge_file(path)
    return {
        name: FileSpan(path, header.data_begin + entry.begin, DTYPES[entry.dtype], entry.shape)
        for name, entry in header.entries.items()
    }
