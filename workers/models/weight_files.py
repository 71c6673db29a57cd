"""Files of weights, judged by their names and headers: whole, of safetensors or GGUF alone, and of which dtype.

A folder of one model may have its weights several times, as variants: `model.safetensors`, `model.fp16.safetensors`.
What has no name of a variant is taken; a variant where it is the only one.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader
from safetensors import SafetensorError, safe_open

from workers.models.weight_names import GGUF, INDEX_OF_SHARDS, PICKLES, WEIGHTS

DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.bfloat16,  # stored so to be small, and computed with in this
    "F8_E5M2": torch.bfloat16,
}
INTEGERS = {"I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool}
QUANTISED = re.compile(r"(I?Q|TQ|MXFP)\d.*")  # GGUF's names


class Unservable(ValueError):
    """A base that cannot be served; the message is a sentence that says what is wrong and where."""


class Stored(NamedTuple):
    """A tensor as the header of a file has it."""

    dtype: str
    shape: tuple[int, ...]


def header_of(file: Path) -> dict[str, Stored]:
    """Return the tensors of a safetensors or GGUF file by name; raises Unservable for a file that is not whole."""
    if file.suffix == GGUF:
        return _header_of_gguf(file)
    try:
        with safe_open(file, "pt") as weights:
            slices = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118  # no mapping
            return {name: Stored(one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}
    except SafetensorError as error:
        raise Unservable(f"{file} is no whole safetensors file ({error}): download it again") from error


def _header_of_gguf(file: Path) -> dict[str, Stored]:
    try:
        tensors = GGUFReader(file).tensors
        # The last axis is the first in its list
        return {one.name: Stored(one.tensor_type.name, tuple(map(int, reversed(one.shape)))) for one in tensors}
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError) as error:
        raise Unservable(f"{file} is no whole GGUF file ({error}): download it again") from error


def dtype_of(tensors: Iterable[Stored]) -> torch.dtype:
    """Return the floating dtype of most of the tensors' numbers; float32 where none is of one."""
    sizes: Counter[torch.dtype] = Counter()
    for tensor in tensors:
        dtype = torch.bfloat16 if is_quantised(tensor.dtype) else DTYPES.get(tensor.dtype)
        if dtype:
            sizes[dtype] += prod(tensor.shape)
    return max(sizes, key=sizes.__getitem__, default=torch.float32)


def bytes_of(tensor: Stored, dtype: torch.dtype) -> int:
    """Return the bytes of a tensor in memory: blocks and integers as they are stored, floats in a dtype."""
    numbers = prod(tensor.shape)
    if is_quantised(tensor.dtype):
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType[tensor.dtype]]
        return numbers // block * size
    return numbers * (dtype if tensor.dtype in DTYPES else INTEGERS.get(tensor.dtype, dtype)).itemsize


def is_quantised(dtype: str) -> bool:
    """Tell whether a header's name of a dtype is of GGUF's blocks of quantised numbers."""
    return QUANTISED.fullmatch(dtype) is not None


def weights_of(folder: Path) -> list[Path]:
    """Return the files that hold a model's weights, every shard; raises Unservable where one is missing."""
    variant = variant_of(folder)
    if index := _indices(folder).get(variant):
        names = _shards(index)
        if missing := [name for name in names if not (folder / Path(name).name).is_file()]:
            raise Unservable(f"{folder} lacks {len(missing)} of {len(names)} shards: {', '.join(missing[:3])}")
        return [folder / Path(name).name for name in names]
    if found := [file for file, name in _files(folder).items() if name == variant]:
        return found
    if pickles := sorted(file.name for pattern in PICKLES for file in folder.glob(pattern)):
        raise pickled(folder / pickles[0])
    raise Unservable(f"{folder} has no weights (*.safetensors): download it whole")


def variant_of(folder: Path) -> str:
    """Return the name of the only variant of a folder's weights, or none; raises Unservable where there are several."""
    names = sorted({*_files(folder).values(), *_indices(folder)})
    if len(names) > 1 and "" not in names:
        raise Unservable(
            f"{folder} has its weights as several variants ({', '.join(names)}) and none without: keep one"
        )
    return names[0] if names else ""


def pickled(file: Path) -> Unservable:
    """Return the error for a file that is a pickle."""
    return Unservable(
        f"{file} is a pickle, which could run any code, and is not opened: have the weights as safetensors"
    )


def without_variant(folder: Path) -> dict[str, Path]:
    """Return a folder's files by name, those of its only variant named as if they were of none."""
    variant = variant_of(folder)
    named = {file.name: file for file in folder.iterdir()}
    if variant:
        for file in [*_files(folder), *_indices(folder).values()]:
            shards = re.search(r"-\d{5}-of-\d{5}\.", file.name)
            if not shards:  # an index names the shards as they are
                named[file.name.replace(f".{variant}.", ".")] = named.pop(file.name)
    return named


def _files(folder: Path) -> dict[Path, str]:
    """Return the files of weights, each with the name of its variant."""
    found = ((file, WEIGHTS.fullmatch(file.name)) for file in sorted(folder.glob("*.safetensors")))
    return {file: named["variant"] or "" for file, named in found if named}


def _indices(folder: Path) -> dict[str, Path]:
    """Return the lists of shards by variant."""
    found = ((file, INDEX_OF_SHARDS.fullmatch(file.name)) for file in sorted(folder.glob("*.json")))
    return {named["variant"] or named["other"] or "": file for file, named in found if named}


def _shards(index: Path) -> list[str]:
    """Return the names of the files that an index of shards says hold the weights."""
    try:
        return sorted({str(name) for name in json.loads(index.read_text())["weight_map"].values()})
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise Unservable(f"{index} does not say which files hold the weights: download it again") from error
