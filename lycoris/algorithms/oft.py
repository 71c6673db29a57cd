"""Diag-OFT: a rotation of a weight's outputs, block by block."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Size, Tensor

from lycoris.algorithms.change import ANY, ByRows, Change, scalar_problems
from lycoris.kernels.linalg import cayley, cayley_problems
from lycoris.kernels.prepared import PreparedChange, WeightView
from lycoris.kernels.scratch import Scratch


class OutputRotation(Change):
    """A change that rotates the outputs of a weight: `shape` is (outputs, ANY), and `alpha`, if any, a constraint."""

    def misfit(self, target: Size | tuple[int, ...]) -> str | None:
        outputs = self.shape[0]
        if len(target) < 2 or target[0] != outputs:
            return f"rotates {outputs} outputs of a {tuple(target)} weight"
        return None

    def doubts(self, target: Size | tuple[int, ...]) -> Iterator[str]:
        del target
        alpha = self.tensors().get("alpha")
        if alpha is not None and float(alpha) < 0:
            yield "its constraint is negative: taken as none"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DiagOFT(OutputRotation, ByRows):
    """(1 + s·(rescale − 1)) ∘ R_sᵀ·W₀, where R_s = I + s·(R − I), R = (I + Q)(I − Q)⁻¹ and Q = B − Bᵀ in each block.

    Qiu et al., *Controlling Text-to-Image Diffusion by Orthogonal Finetuning*, 2023 (arXiv 2306.07280), as LyCORIS
    `diag-oft` and kohya `networks.oft` write it. `alpha` is not a scale but the constraint: where the norm of all of
    Q is above alpha·o, Q is scaled down to it; 0 or none means no constraint. `rescale` follows the strength too
    (LyCORIS applies it in full at any strength; both agree at 1).
    """

    oft_blocks: Tensor  # (k, n, n) with k·n = o
    rescale: Tensor | None = None  # (o, 1[, 1, 1])
    alpha: Tensor | None = None  # ()

    SUFFIXES: ClassVar = {"oft_blocks": "oft_blocks", "rescale": "rescale", "alpha": "alpha"}
    SIGNS: ClassVar = frozenset({"oft_blocks"})

    @classmethod
    def claims(cls, tensors: Mapping[str, Tensor]) -> bool:
        return "oft_blocks" in tensors and tensors["oft_blocks"].ndim == 3

    def prepare(self, weight: WeightView, scratch: Scratch) -> PreparedChange:
        skew = constrained(weight.factor(self.oft_blocks), self.alpha, weight.shape[0])
        scale = None if self.rescale is None else weight.factor(self.rescale).reshape(-1, 1) - 1
        return Rotation(minus_identity(cayley(skew)), scale)

    @property
    def name(self) -> str:
        return "oft"

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.oft_blocks) * self.oft_blocks.shape[1], ANY)

    def problems(self) -> Iterator[str]:
        yield from scalar_problems(alpha=self.alpha)
        yield from rescale_problems(self.rescale, self.shape[0])
        yield from cayley_problems(self.oft_blocks, "oft_blocks")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class OldOFT(OutputRotation, ByRows):
    """R_sᵀ·W₀, where R_s = I + s·(R − I) and the file holds R itself (LyCORIS 2.0)."""

    oft_diag: Tensor  # (k, n, n) with k·n = o

    SUFFIXES: ClassVar = {"oft_diag": "oft_diag"}
    SIGNS: ClassVar = frozenset({"oft_diag"})

    def prepare(self, weight: WeightView, scratch: Scratch) -> PreparedChange:
        return Rotation(minus_identity(weight.factor(self.oft_diag)), None)

    @property
    def name(self) -> str:
        return "oft"

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.oft_diag) * self.oft_diag.shape[1], ANY)

    def problems(self) -> Iterator[str]:
        if self.oft_diag.ndim != 3 or self.oft_diag.shape[1] != self.oft_diag.shape[2]:
            yield f"oft_diag {tuple(self.oft_diag.shape)} is not made of square blocks"


def constrained(blocks: Tensor, alpha: Tensor | None, outputs: int) -> Tensor:
    """Return Q = B − Bᵀ of blocks (…, n, n), their joint norm at most alpha·outputs."""
    skew = blocks - blocks.mT
    largest = 0.0 if alpha is None else float(alpha) * outputs
    norm = torch.linalg.vector_norm(skew) + 1e-8  # LyCORIS' guard against division by zero
    return skew * (largest / norm) if 0 < largest < float(norm.detach()) else skew


def minus_identity(rotation: Tensor) -> Tensor:
    """Return (R − I)ᵀ of blocks (k, n, n), so that a rotation at strength 0 adds exactly 0."""
    one = torch.eye(rotation.shape[1], dtype=rotation.dtype, device=rotation.device)
    return (rotation - one).mT.contiguous()


@dataclass(frozen=True, eq=False)
class Rotation(PreparedChange):
    """The change Rᵀ·W₀ − W₀, block by block over the outputs, optionally rescaled."""

    added: Tensor  # (R − I)ᵀ, (k, n, n) with k·n = o
    scale: Tensor | None  # rescale − 1, (o, 1)

    @property
    def row_multiple(self) -> int:
        return self.added.shape[1]

    def add(self, change: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        first, count = start // self.row_multiple, len(change) // self.row_multiple
        added, rows = (
            self.added[first : first + count],
            scratch.single("weight", pristine, change).view(count, self.row_multiple, -1),
        )
        if self.scale is None:
            change.view(rows.shape).baddbmm_(added, rows, alpha=strength)
            return
        rotated, scale = added @ rows, self.scale[start : start + len(change)].view(count, self.row_multiple, 1)
        change.add_((rotated + scale * (rows + strength * rotated)).view(change.shape), alpha=strength)


def rescale_problems(rescale: Tensor | None, outputs: int) -> Iterator[str]:
    """Yield why a rescale (o, 1, …) is not one value per output."""
    if rescale is not None and (rescale.ndim == 0 or len(rescale) != outputs or rescale.numel() != outputs):
        yield f"rescale {tuple(rescale.shape)} is not a column of {outputs} values"
