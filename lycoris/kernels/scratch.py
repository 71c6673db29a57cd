"""Scratch memory for intermediate results, allocated once and reused for every block."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from lycoris.kernels.linalg import is_single


class Scratch:
    """Float32 tensors by name; the next tensor of the same name overwrites the memory of the last one.

    A fresh tensor of a weight's size costs page faults that take far longer than the arithmetic. Gradients cannot flow
    through reused memory: they need NO_REUSE.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, torch.device], Tensor] = {}

    def empty(self, name: str, shape: Sequence[int], device: torch.device) -> Tensor:
        """Return a contiguous, uninitialised float32 tensor of this shape."""
        size, held = prod(shape), self._held.get((name, device))
        if held is None or held.numel() < size:
            held = self._held[name, device] = torch.empty(size, dtype=torch.float32, device=device)
        return held[:size].view(*shape)

    def product(self, name: str, left: Tensor, right: Tensor) -> Tensor:
        """Return the product of two float32 matrices."""
        return torch.mm(left, right, out=self.empty(name, (len(left), right.shape[1]), left.device))

    def copy(self, name: str, source: Tensor, like: Tensor) -> Tensor:
        """Return a contiguous copy in the dtype of `like`."""
        return self.empty(name, source.shape, like.device).copy_(source)

    def single(self, name: str, source: Tensor, like: Tensor) -> Tensor:
        """Return a tensor in the dtype of `like`, contiguous and aligned: `source` itself where it already is.

        The last bit of a product with it then does not depend on the memory layout of the model's weights.
        """
        return source if is_single(source, like.dtype) else self.copy(name, source, like)


class _NoReuse(Scratch):
    """Allocates every tensor afresh, so that gradients flow through it."""

    def empty(self, name: str, shape: Sequence[int], device: torch.device) -> Tensor:
        del name
        return torch.empty(*shape, dtype=torch.float32, device=device)

    def product(self, name: str, left: Tensor, right: Tensor) -> Tensor:
        del name
        return left @ right

    def copy(self, name: str, source: Tensor, like: Tensor) -> Tensor:
        del name
        return source.to(like, memory_format=torch.contiguous_format, copy=True)


NO_REUSE = _NoReuse()
