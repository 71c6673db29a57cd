"""PEFT's BOFT: a rotation of a weight's inputs in stages, and a scale for every output."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Size, Tensor

from lycoris.algorithms.change import Change
from lycoris.kernels.linalg import by_rows, cayley, cayley_problems


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PeftBOFT(Change):
    """W₀ + s·(boft_s ∘ W₀·Mᵀ − W₀), M = M_{m−1} ⋯ M_0 over the inputs, M_j = P_j·blockdiag(R_j)·P_jᵀ.

    Liu et al., 2023 (arXiv 2311.06243), as PEFT `BOFTConfig` writes it: R = (I − Q)(I + Q)⁻¹, Q = (B − Bᵀ)/2. P_j sorts
    the half blocks of each 2^j blocks, the even ones first. (LyCORIS' BOFT rotates the outputs: `boft.py`.)
    """

    boft_R: Tensor  # (m, k, b, b) with k·b = i·∏k
    boft_s: Tensor  # (o, 1); of a convolution (1, o)

    SUFFIXES: ClassVar = {"boft_R": "boft_R", "boft_s": "boft_s"}
    SIGNS: ClassVar = frozenset(SUFFIXES)

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        stages, blocks, size, _ = self.boft_R.shape
        packed = self.boft_R.to(change)
        rotations = cayley((packed.mT - packed) / 2)
        original = by_rows(pristine, change).flatten(1)
        rotated = original.T  # (inputs, outputs)
        for stage in range(stages):
            if stages == 1:
                rotated = _rotated(rotations[0], rotated)
                continue
            order = _order(blocks * size, size, stage, change.device)
            # M = P·R·Pᵀ with P[i, order[i]] = 1: gather by the inverse, rotate, gather by the order.
            rotated = _rotated(rotations[stage], rotated[order.argsort()])[order]
        scaled = rotated.T * self.boft_s.to(change).reshape(-1, 1)
        change.add_((scaled - original).view(change.shape), alpha=strength)

    @property
    def name(self) -> str:
        return "boft"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.boft_s.numel(), self.boft_R.shape[1] * self.boft_R.shape[2])

    def problems(self) -> Iterator[str]:
        shape, scale = tuple(self.boft_R.shape), tuple(self.boft_s.shape)
        if len(shape) != 4 or len(scale) != 2 or 1 not in scale:
            yield f"boft_R {shape} and boft_s {scale} are not (m, k, b, b) and (o, 1)"
            return
        if shape[0] > 1 and (shape[2] % 2 or shape[0] > 32 or shape[1] % 2 ** (shape[0] - 1)):
            yield f"boft_R {shape} has {shape[0]} stages, more than {shape[1]} blocks can be paired in"
        yield from cayley_problems(self.boft_R, "boft_R")

    def misfit(self, target: Size | tuple[int, ...]) -> str | None:
        if len(target) < 2 or self.shape != (target[0], prod(target[1:])):
            return f"rotates {self.shape[1]} inputs and scales {self.shape[0]} outputs of a {tuple(target)} weight"
        return None


def _rotated(rotation: Tensor, rows: Tensor) -> Tensor:
    return (rotation @ rows.view(len(rotation), rotation.shape[1], -1)).reshape(rows.shape)


def _order(inputs: int, size: int, stage: int, device: torch.device) -> Tensor:
    """Return the butterfly order: in every 2^stage blocks the even half blocks, then the odd ones."""
    halves = torch.arange(inputs, device=device).view(-1, 2**stage, 2, size // 2)
    return halves.transpose(1, 2).reshape(-1)
