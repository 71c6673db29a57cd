"""How much memory a device has, and what a picture takes of it at the least."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lycoris import storage

MEMORY = Path("/proc/meminfo")
EDGE = 64  # of the latents that the decoder is tried with
COLOURS = 3
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
CANNOT = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)  # of a decoder that wants more than latents


def free_bytes(device: str) -> int | None:
    """Return how much memory of a device nobody uses; None where the system does not tell."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    if device == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return _system("MemAvailable")


def all_bytes(device: str) -> int | None:
    """Return all memory of a device, whoever uses it now: of a CPU with what it can swap out; None as above."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[1]
    if device == "mps":
        return torch.mps.recommended_max_memory()
    return _system("MemTotal", "SwapTotal")


def most_pixels(pipeline: Any, device: str) -> int | None:
    """Return over how many pixels no picture can be decoded beside the weights; None where that is not known.

    A picture takes more than that: what it takes beside the largest step of its decoding is not counted.
    """
    memory, each = all_bytes(device), decoding_bytes(pipeline)
    if memory is None or each is None:
        return None
    parts = [part for part in vars(pipeline).values() if isinstance(part, nn.Module)]
    stored = {id(weight): sum(part.nbytes for part in storage(weight)) for one in parts for weight in one.parameters()}
    return max(int((memory - sum(stored.values())) / each), 0)


def decoding_bytes(pipeline: Any) -> float | None:
    """Return how many bytes the largest operation of decoding reads and writes for each pixel.

    Tried without memory and without numbers, on the meta device. None for a pipeline without a decoder, or with one
    that takes more than latents.
    """
    found = [part.decoder for part in vars(pipeline).values() if decodes(part)]
    if len(found) != 1:
        return None
    (decoder,) = found
    first = next((layer for layer in decoder.modules() if isinstance(layer, CONVOLUTIONS)), None)
    if first is None:
        return None
    shapes = {name: weight.to("meta") for name, weight in (*decoder.named_parameters(), *decoder.named_buffers())}
    latents = (1, first.in_channels, *((1,) if isinstance(first, nn.Conv3d) else ()), EDGE, EDGE)
    try:
        with torch.inference_mode(), _Largest(shapes.values()) as largest:
            pixels = functional_call(decoder, shapes, torch.empty(latents, dtype=first.weight.dtype, device="meta"))
    except CANNOT:
        return None
    return largest.bytes / (pixels.numel() / COLOURS)


def decodes(part: Any) -> bool:
    """Tell whether a part of a pipeline makes pixels of latents."""
    return hasattr(part, "decode") and isinstance(getattr(part, "decoder", None), nn.Module)


class _Largest(TorchDispatchMode):
    """Notes the largest number of bytes that one operation reads and writes, weights not counted."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()
        self._weights = {_storage(weight) for weight in weights}
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves((args, kwargs, made)) if isinstance(one, Tensor)]
        held = {_storage(one): one.untyped_storage().nbytes() for one in tensors}  # views are of one storage
        self.bytes = max(self.bytes, sum(size for storage, size in held.items() if storage not in self._weights))
        return made


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _system(*names: str) -> int | None:
    """Return the sum of these lines of the kernel's account of memory, in bytes."""
    lines = MEMORY.read_text().splitlines() if MEMORY.is_file() else []
    found = {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines if line.split(":")[0] in names}
    return sum(found.values()) if found.keys() == set(names) else None
