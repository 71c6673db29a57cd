"""The nearest change of low rank: singular values, how many of them to keep, and the loss.

Eckart and Young, 1936: of all matrices of rank r the truncated singular value decomposition is the nearest, and the
loss is √Σ σₖ² over the values left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

import torch
from torch import Tensor


@dataclass(frozen=True)
class Budget:
    """The number of singular values to keep: at most `rank`, and only as many as hold the share `energy` of Σσ²."""

    rank: int | None = None
    energy: float | None = None  # of ‖Δ‖², 0 to 1

    def of(self, singular: Tensor) -> int:
        """Return how many singular values, in falling order, to keep; at least one."""
        kept = len(singular) if self.rank is None else min(self.rank, len(singular))
        if self.energy is not None:
            squares = singular.double().square()
            missing = squares.flip(0).cumsum(0).flip(0)  # the loss when the values from k on are left out
            kept = min(kept, int((missing > (1 - self.energy) * missing[0]).sum()))
        return max(1, kept)


@dataclass(frozen=True)
class Loss:
    """The loss of one layer."""

    layer: str
    rank: int
    size: float  # ‖Δ‖, Frobenius
    lost: float  # ‖Δ − Δ'‖, of the factors as they are stored

    @property
    def relative(self) -> float:
        """‖Δ − Δ'‖ / ‖Δ‖."""
        return self.lost / self.size if self.size else 0.0


def of_matrix(matrix: Tensor, budget: Budget) -> tuple[Tensor, Tensor]:
    """Return float32 (o, k) and (k, n) whose product is nearest to a matrix (o, n); both share σ evenly."""
    left, singular, right = torch.linalg.svd(matrix.float(), full_matrices=False)
    return _factors(left, singular, right, budget)


def of_product(up: Tensor, down: Tensor, budget: Budget) -> tuple[Tensor, Tensor]:
    """Return the same for up (o, r) times down (r, n), without computing the product: QR of both, then r × r."""
    outer, left = torch.linalg.qr(up.double())
    inner, right = torch.linalg.qr(down.double().T)
    u, singular, v = torch.linalg.svd(left @ right.T, full_matrices=False)
    return _factors(outer @ u, singular, v @ inner.T, budget)


def size_of_product(up: Tensor, down: Tensor) -> float:
    """Return ‖up·down‖ without computing the product."""
    left, right = torch.linalg.qr(up.double()).R, torch.linalg.qr(down.double().T).R
    return float(torch.linalg.vector_norm(left @ right.T))


def distance(up: Tensor, down: Tensor, other_up: Tensor, other_down: Tensor) -> float:
    """Return ‖up·down − other_up·other_down‖ without computing either: the difference is one product too."""
    ups = torch.cat([up.double(), -other_up.double()], dim=1)
    return size_of_product(ups, torch.cat([down.double(), other_down.double()]))


def total(losses: Sequence[Loss]) -> float:
    """Return the loss of all layers, relative to their size; squares add up, for layers do not overlap."""
    size = hypot(*(loss.size for loss in losses))
    return hypot(*(loss.lost for loss in losses)) / size if size else 0.0


def report(losses: Sequence[Loss]) -> list[str]:
    """Return lines about the loss: in total, in the mean and of the worst layers."""
    if not losses:
        return ["no layer had to be approximated"]
    worst = sorted(losses, key=lambda loss: -loss.relative)[:5]
    mean = sum(loss.relative for loss in losses) / len(losses)
    ranks = sorted({loss.rank for loss in losses})
    span = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
    return [
        f"{len(losses)} layers approximated, rank {span}",
        f"error ‖Δ − Δ'‖/‖Δ‖: {total(losses):.3g} in total, {mean:.3g} in the mean, {worst[0].relative:.3g} at worst:",
        *(f"  {loss.relative:<9.3g} rank {loss.rank:<4} {loss.layer}" for loss in worst),
    ]


def _factors(left: Tensor, singular: Tensor, right: Tensor, budget: Budget) -> tuple[Tensor, Tensor]:
    kept = budget.of(singular)
    root = singular[:kept].sqrt()
    return (left[:, :kept] * root).float(), (root[:, None] * right[:kept]).float()
