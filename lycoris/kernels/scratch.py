"""Memory for what is computed in between: taken once and used again, block after block."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from lycoris.kernels.linalg import is_single


class Scratch:
    """Float32 tensors by name, each in memory that whoever asks for the name again takes over.

    A fresh tensor of the size of a weight costs page faults that dwarf the arithmetic. Nothing in it can be learned
    from: gradients need FRESH.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, torch.device], Tensor] = {}

    def empty(self, name: str, shape: Sequence[int], device: torch.device) -> Tensor:
        """Return a contiguous float32 tensor of this shape that holds anything."""
        size, held = prod(shape), self._held.get((name, device))
        if held is None or held.numel() < size:
            held = self._held[name, device] = torch.empty(size, dtype=torch.float32, device=device)
        return held[:size].view(*shape)

    def product(self, name: str, left: Tensor, right: Tensor) -> Tensor:
        """Return the product of two float32 matrices."""
        return torch.mm(left, right, out=self.empty(name, (len(left), right.shape[1]), left.device))

    def copy(self, name: str, source: Tensor, like: Tensor) -> Tensor:
        """Return a copy in the precision of `like`, one row after the other in memory."""
        return self.empty(name, source.shape, like.device).copy_(source)

    def single(self, name: str, source: Tensor, like: Tensor) -> Tensor:
        """Return a tensor in the precision of `like`, one row after the other and aligned: itself if it is so.

        However a model lays out its weights, the last bit of a product with them is then the same.
        """
        return source if is_single(source, like.dtype) else self.copy(name, source, like)


class _NoReuse(Scratch):
    """A room that holds nothing: every tensor is its own, and gradients find their way through it."""

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
