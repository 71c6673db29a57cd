"""Overwrite: a parameter replaced by a new value."""

from typing import ClassVar

from torch import Tensor

from lycoris.algorithms.stored import Stored


class Overwrite(Stored):
    """W₀ + s·(set_weight − W₀): the new weight itself at strength 1 (ComfyUI; BFL's control LoRAs for their norms)."""

    NAME: ClassVar = "overwrite"
    SUFFIXES: ClassVar = {"set_weight": "stored"}
    SIGNS: ClassVar = frozenset(SUFFIXES)

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        change.add_(self.stored.to(change).reshape(change.shape) - pristine.to(change), alpha=strength)
