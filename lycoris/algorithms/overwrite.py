"""Overwrite: a parameter replaced by a new value."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lycoris.algorithms.change import Change


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Overwrite(Change):
    """W₀ + s·(set_weight − W₀): the new weight itself at strength 1 (ComfyUI; BFL's control LoRAs for their norms)."""

    set_weight: Tensor  # as the weight

    SUFFIXES: ClassVar = {"set_weight": "set_weight"}
    SIGNS: ClassVar = frozenset(SUFFIXES)

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        change.add_(self.set_weight.to(change).reshape(change.shape) - pristine.to(change), alpha=strength)

    @property
    def name(self) -> str:
        return "overwrite"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.set_weight.shape)

    def problems(self) -> Iterator[str]:
        if self.set_weight.ndim == 0:
            yield "set_weight is a scalar"
