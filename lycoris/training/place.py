"""A layer as a beginning sees it: its form, and where random values come from."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris.training.draw import Draw
from lycoris.training.forms import Form

Tensors = dict[str, Tensor]  # a layer's tensors by suffix, as lycoris/algorithms names them


@dataclass(frozen=True)
class Place(Form):
    """One layer to begin on."""

    scale: float  # alpha/rank as asked for
    draw: Draw
    shared: Draw  # of values that all layers of the model have in common
    widest: tuple[int, int]  # outputs and inputs of the largest layers among those trained
    weight: Callable[[], Tensor]  # float32, on the layer's device

    def alpha(self, rank: int) -> Tensor:
        """Return the alpha of factors of this rank, so that alpha/rank is the scale asked for."""
        return torch.tensor(self.scale * rank)
