"""HRA: a weight's inputs reflected at a series of hyperplanes."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Size, Tensor

from lycoris.algorithms.change import ANY, RANK_FLOOR, Change, scalar_problems
from lycoris.kernels.linalg import by_rows, holds


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HRA(Change):
    """W₀ + s·(W₀·∏ⱼ(I − 2ûⱼûⱼᵀ) − W₀); with apply_GS the ûⱼ are made orthogonal first.

    Yuan et al., *Bridging The Gap between Low-rank and Orthogonal Adaptation via Householder Reflection Adaptation*,
    2024 (arXiv 2405.17484), as PEFT `HRAConfig` writes it. The flag is only in the configuration.
    """

    hra_u: Tensor  # (i·∏k, r)
    apply_GS: Tensor  # ()

    SUFFIXES: ClassVar = {"hra_u": "hra_u", "apply_GS": "apply_GS"}
    SIGNS: ClassVar = frozenset({"hra_u"})

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        original = by_rows(pristine, change).flatten(1)
        mirrors = self.hra_u.to(change)
        if holds(self.apply_GS):
            # Orthogonal reflections commute into one product; the signs of QR's columns make no difference.
            basis = torch.linalg.qr(mirrors).Q
            reflected = original - 2 * (original @ basis) @ basis.T
        else:
            reflected = original
            for column in (mirrors / torch.linalg.vector_norm(mirrors, dim=0)).T:
                reflected = reflected - 2 * torch.outer(reflected @ column, column)
        change.add_((reflected - original).view(change.shape), alpha=strength)

    @property
    def name(self) -> str:
        return "hra"

    @property
    def shape(self) -> tuple[int, ...]:
        return (ANY, len(self.hra_u))

    @property
    def rank(self) -> int:
        return self.hra_u.shape[1]

    def problems(self) -> Iterator[str]:
        yield from scalar_problems(apply_GS=self.apply_GS)
        if self.hra_u.ndim != 2:
            yield f"hra_u must be a matrix and is of shape {tuple(self.hra_u.shape)}"
        elif holds(~self.hra_u.bool().any(dim=0)):
            yield "hra_u has a column of zeros, which is no direction to reflect along"
        elif holds(self.apply_GS) and self.rank > len(self.hra_u):
            yield f"hra_u {tuple(self.hra_u.shape)} has more columns than can be orthogonal"

    def misfit(self, target: Size | tuple[int, ...]) -> str | None:
        if len(target) < 2 or prod(target[1:]) != len(self.hra_u) or self.rank > max(len(self.hra_u), RANK_FLOOR):
            return f"reflects {len(self.hra_u)} inputs, {self.rank} times, of a {tuple(target)} weight"
        return None
