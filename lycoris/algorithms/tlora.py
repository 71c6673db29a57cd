"""T-LoRA: a low-rank change initialised with the weight's own principal part, which is subtracted again."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Size, Tensor

from lycoris.algorithms.change import NEEDS_ITS_BASE, ByRows, gamma, scalar_problems
from lycoris.kernels.linalg import BLOCK_CAP, matrix
from lycoris.kernels.prepared import LowRankProduct, PreparedChange, WeightView
from lycoris.kernels.scratch import Scratch


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TLoRA(ByRows):
    """W₀ + s·γ·(P·diag(λ)·Q − U_r·S_r·V_rᵀ), where the last is the best approximation of W₀ of rank r.

    Soboleva et al., *T-LoRA*, 2025 (arXiv 2507.05964), as LyCORIS 4 writes it, at full rank for every timestep, as in
    inference. Right for `sig_type=principal`, the default: the file does not name its initialisation.
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

    def prepare(self, weight: WeightView, scratch: Scratch) -> PreparedChange:
        left, right, middle = (
            weight.factor(matrix(factor)) for factor in (self.p_layer, self.q_layer, self.lambda_layer)
        )
        outer, inner = _principal(weight.whole().detach().double().contiguous().flatten(1), self.rank)
        # Both products as one of twice the rank
        return LowRankProduct(
            torch.cat([left * middle, outer.to(left)], 1),
            torch.cat([right, inner.to(left).neg_()]),
            gamma(self.alpha, self.rank),
        )

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
            return f"needs the principal part of a {tuple(target)} weight, which is too large to decompose"
        return wrong

    def doubts(self, target: Size | tuple[int, ...]) -> Iterator[str]:
        yield from super().doubts(target)
        yield NEEDS_ITS_BASE
        yield "its file does not name its initialisation: taken to be the principal part (sig_type=principal)"


def _principal(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return the factors (o, r) and (r, i) of the best approximation of this rank of a float64 matrix.

    The smaller Gram matrix has the same singular vectors on its side, and its eigenvectors are many times faster than
    an SVD; squaring costs no more precision than float64 has beyond the weight's own dtype.
    """
    if len(weight) > weight.shape[1]:
        outer, inner = _principal(weight.T, rank)
        return inner.T, outer.T
    vectors = torch.linalg.eigh(weight @ weight.T).eigenvectors[:, -rank:]
    return vectors, vectors.T @ weight
