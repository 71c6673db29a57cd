"""The common base of full, norm and overwrite: one tensor of the parameter's own shape, stored as it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lycoris.algorithms.change import Change


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Stored(Change):
    """A tensor of the parameter's own shape, without rank or alpha. A subclass gives its suffix and name, as data."""

    stored: Tensor  # as the parameter

    NAME: ClassVar[str]
    VECTOR: ClassVar[bool] = False  # of a bias or a norm: only (o,) will do

    @property
    def name(self) -> str:
        return self.NAME

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.stored.shape)

    def problems(self) -> Iterator[str]:
        (suffix,) = self.SUFFIXES
        if self.VECTOR and self.stored.ndim != 1:
            yield f"{suffix} must be a vector and is of shape {self.shape}"
        elif self.stored.ndim == 0:
            yield f"{suffix} is a scalar"


class Difference(Stored):
    """W₀ + s·stored."""

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        change.add_(self.stored.to(change).reshape(change.shape), alpha=strength)
