"""A layer as a beginning sees it: the shape to fill, the numbers asked for, and where random values come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from lycoris.training.draw import Draw

Tensors = dict[str, Tensor]  # a layer's tensors by suffix, as lycoris/algorithms names them


class Unfit(ValueError):
    """The algorithm has no form for a layer of this shape; the message says why."""


@dataclass(frozen=True)
class Place:
    """One layer to begin on."""

    shape: tuple[int, ...]  # of the weight
    bias: bool  # whether the layer has one
    rank: int  # as the plan has it for this layer; 0 where the algorithm takes none
    scale: float  # alpha/rank as asked for
    options: Mapping[str, Any]
    draw: Draw
    shared: Draw  # of values that all layers of the model have in common
    widest: tuple[int, int]  # outputs and inputs of the largest layers among those trained
    weight: Callable[[], Tensor]  # float32, on the layer's device

    @property
    def outputs(self) -> int:
        """Rows of the weight."""
        return self.shape[0]

    @property
    def inputs(self) -> int:
        """Columns of the weight, of one position of a kernel."""
        return self.shape[1]

    @property
    def kernel(self) -> tuple[int, ...]:
        """The axes of a convolution's kernel."""
        return self.shape[2:]

    @property
    def points(self) -> tuple[int, ...]:
        """As many axes as the kernel has, each of size 1."""
        return (1,) * len(self.kernel)

    @property
    def cored(self) -> bool:
        """Whether a Tucker core is asked for and there is a kernel to hold."""
        return bool(self.options.get("tucker")) and prod(self.kernel) > 1

    def most(self) -> int:
        """Return the rank of the weight itself: no product of two factors has a higher one."""
        return min(self.rank, self.outputs, prod(self.shape[1:]))

    def alpha(self, rank: int) -> Tensor:
        """Return the alpha of factors of this rank, so that alpha/rank is the scale asked for."""
        return torch.tensor(self.scale * rank)


def divisor(number: int, most: int) -> int:
    """Return the largest divisor of a number up to `most`, at least 1."""
    return max(size for size in range(1, min(number, most) + 1) if number % size == 0)
