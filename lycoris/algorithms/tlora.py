"""T-LoRA: a change of low rank that began as the weight's own principal part, which is taken away again."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Size, Tensor

from lycoris.algorithms.change import NEEDS_ITS_BASE, Change, gamma, scalar_problems
from lycoris.linalg import BLOCK_CAP, by_rows, matrix


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TLoRA(Change):
    """W₀ + s·γ·(P·diag(λ)·Q − U_r·S_r·V_rᵀ), where the last is the best approximation of W₀ of rank r.

    Soboleva et al., *T-LoRA*, 2025 (arXiv 2507.05964), as LyCORIS 4 writes it, at full rank for every timestep, as it
    is drawn with. Right for `sig_type=principal`, the default: the file does not say what it began as.
    """

    q_layer: Tensor  # (r, i[, 1, 1])
    p_layer: Tensor  # (o, r[, 1, 1])
    lambda_layer: Tensor  # (1, r)
    alpha: Tensor | None = None  # ()

    SUFFIXES: ClassVar = {
        "q_layer.weight": "q_layer",
        "p_layer.weight": "p_layer",
        "lambda_layer": "lambda_layer",
        "alpha": "alpha",
    }
    SIGNS: ClassVar = frozenset({"lambda_layer", "q_layer.weight", "p_layer.weight"})

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        left = matrix(self.p_layer.to(change)) * self.lambda_layer.to(change)
        scale = strength * gamma(self.alpha, self.rank)
        change.view(len(change), -1).addmm_(left, matrix(self.q_layer.to(change)), alpha=scale)
        began = _principal(by_rows(pristine, pristine).flatten(1), self.rank).to(change)
        change.sub_(began.view(change.shape), alpha=scale)

    @property
    def name(self) -> str:
        return "tlora"

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.p_layer), *self.q_layer.shape[1:])

    @property
    def rank(self) -> int:
        return len(self.q_layer)

    @property
    def unscaled(self) -> bool:
        return self.alpha is None

    def problems(self) -> Iterator[str]:
        yield from scalar_problems(alpha=self.alpha)
        p, q, middle = (tuple(tensor.shape) for tensor in (self.p_layer, self.q_layer, self.lambda_layer))
        if len(p) < 2 or len(q) < 2 or prod(p[2:]) != 1 or p[1] != q[0] or middle != (1, q[0]):
            yield f"p_layer {p}, lambda_layer {middle} and q_layer {q} do not join"

    def misfit(self, target: Size | tuple[int, ...]) -> str | None:
        wrong = super().misfit(target)
        if not wrong and self.rank > min(target[0], prod(target[1:])):
            return f"has rank {self.rank}, above that of a {tuple(target)} weight"
        if not wrong and min(target[0], prod(target[1:])) > BLOCK_CAP:
            return f"needs the principal part of a {tuple(target)} weight, which is too large to take apart"
        return wrong

    def doubts(self, target: Size | tuple[int, ...]) -> Iterator[str]:
        yield from super().doubts(target)
        yield NEEDS_ITS_BASE
        yield "its file does not say what it began as: taken to be the principal part (sig_type=principal)"


def _principal(weight: Tensor, rank: int) -> Tensor:
    """Return the best approximation (o, i) of a matrix of this rank, in float64.

    The smaller Gram matrix has the same singular vectors on its side, and is taken apart many times faster than an SVD;
    the precision that squaring costs is what float64 has over what the weight is stored in.
    """
    double = weight.detach().double()
    if len(double) > double.shape[1]:
        return _principal(double.T, rank).T
    vectors = torch.linalg.eigh(double @ double.T).eigenvectors[:, -rank:]
    return vectors @ (vectors.T @ double)
