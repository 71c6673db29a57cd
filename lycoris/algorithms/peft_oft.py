"""PEFT's OFT: a rotation of a weight's inputs, from packed vectors."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt, prod
from typing import ClassVar

import torch
from torch import Size, Tensor

from lycoris.algorithms.change import ANY, Change, scalar_problems
from lycoris.kernels.linalg import BLOCK_CAP, SKEW_CAP, by_rows, cayley, largest

TERMS_CAP = 64  # PEFT's default is 5


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PeftOFT(Change):
    """W₀ + s·(W₀·Rᵀ − W₀), R block by block over the inputs, from Q = M − Mᵀ with a row of `oft_R` above its diagonal.

    PEFT `OFTConfig`. Two forms that rotate in opposite directions; only the configuration tells which:
    R = (I − Q)(I + Q)⁻¹ with neumann_terms = 0 (`use_cayley_neumann=False`), else the first terms of
    (I + Q)(I − Q)⁻¹: I + 2Q + 2Q² + … + Qⁿ⁻¹, which is a rotation only while Q is small.
    One row for all blocks is `block_share`. Kernels are refused: PEFT's own computation there is no convolution.
    """

    oft_R: Tensor  # (k, n(n − 1)/2) with k·n = i, or (1, n(n − 1)/2)
    neumann_terms: Tensor  # ()

    SUFFIXES: ClassVar = {"oft_R.weight": "oft_R", "neumann_terms": "neumann_terms"}
    SIGNS: ClassVar = frozenset({"oft_R.weight"})

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        rotation = self._rotation(change)  # (k, n, n), or (1, n, n) for every block
        columns = by_rows(pristine, change).reshape(len(change), -1, self._size).transpose(0, 1)
        one = torch.eye(self._size, dtype=change.dtype, device=change.device)
        rotated = columns @ (rotation - one).mT
        change.add_(rotated.transpose(0, 1).reshape(change.shape), alpha=strength)

    @property
    def name(self) -> str:
        return "oft"

    @property
    def shape(self) -> tuple[int, ...]:
        return (ANY, len(self.oft_R) * self._size if len(self.oft_R) > 1 else ANY)

    @property
    def _size(self) -> int:
        return (1 + isqrt(1 + 8 * self.oft_R.shape[1])) // 2

    def problems(self) -> Iterator[str]:
        yield from scalar_problems(neumann_terms=self.neumann_terms)
        shape = tuple(self.oft_R.shape)
        if self.neumann_terms.numel() == 1 and float(self.neumann_terms) not in range(TERMS_CAP + 1):
            yield f"neumann_terms must be a number from 0 to {TERMS_CAP} and is {float(self.neumann_terms)}"
        if len(shape) != 2 or self._size * (self._size - 1) // 2 != shape[1]:
            yield f"oft_R {shape} is not made of rows of n(n − 1)/2 values"
        elif self._size > BLOCK_CAP or shape[0] * self._size**3 > BLOCK_CAP**3:
            yield f"oft_R {shape} has blocks too large to solve: the largest allowed is {BLOCK_CAP}"
        elif largest(self.oft_R) * self._size > SKEW_CAP:
            yield "oft_R holds values too large for a rotation: all precision would be lost"

    def misfit(self, target: Size | tuple[int, ...]) -> str | None:
        if len(target) < 2 or prod(target[2:]) != 1:
            return f"is PEFT's OFT of a {tuple(target)} weight: over a kernel it computes no convolution"
        blocks = target[1] // self._size
        if target[1] % self._size or len(self.oft_R) not in (1, blocks):
            return f"rotates {len(self.oft_R)} blocks of {self._size} inputs of a {tuple(target)} weight"
        return None

    def doubts(self, target: Size | tuple[int, ...]) -> Iterator[str]:
        del target
        if int(self.neumann_terms) and largest(self.oft_R) * self._size > 1:
            yield "its Q is large for a Neumann series: the result is not only a rotation"

    def _rotation(self, like: Tensor) -> Tensor:
        size, terms = self._size, int(self.neumann_terms)
        rows, columns = torch.triu_indices(size, size, 1, device=like.device)
        packed = like.new_zeros(len(self.oft_R), size, size)
        every = torch.arange(len(packed), device=like.device)[:, None]
        upper = packed.index_put((every, rows, columns), self.oft_R.to(like))
        skew = upper - upper.mT
        return _neumann(skew, terms) if terms else cayley(-skew)


def _neumann(skew: Tensor, terms: int) -> Tensor:
    """Return the terms of (I + Q)(I − Q)⁻¹ that PEFT sums: each twice, except I and, with three or more, the last."""
    last = max(terms - 1, 3) if terms > 2 else terms - 1
    total = torch.eye(skew.shape[-1], dtype=skew.dtype, device=skew.device).expand_as(skew)
    power = skew
    for exponent in range(1, last + 1):
        total = total + power * (1 if exponent == last and terms > 2 else 2)
        power = power @ skew
    return total
