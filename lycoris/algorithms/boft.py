"""BOFT: a rotation of a weight's outputs in stages, each mixing blocks twice as far apart as the one before."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lycoris.algorithms.change import ANY, scalar_problems
from lycoris.algorithms.oft import OutputRotation, constrained, rescale_problems
from lycoris.kernels.linalg import by_rows, cayley, cayley_problems


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BOFT(OutputRotation):
    """(1 + s·(rescale − 1)) ∘ R_{m−1,s} ⋯ R_{0,s}·W₀, with R_{j,s} = I + s·(R_j − I) in butterfly order.

    Liu et al., *Parameter-Efficient Orthogonal Finetuning via Butterfly Factorization*, 2023 (arXiv 2311.06243), as
    LyCORIS `boft` writes it: R·W₀ here, where its Diag-OFT is Rᵀ·W₀. Q, `alpha` (a constraint) and `rescale` as there.
    The strength acts on each stage, as in LyCORIS: a product of stages, so not linear in s.
    """

    oft_blocks: Tensor  # (m, k, b, b) with k·b = o, b even
    rescale: Tensor | None = None  # (o, 1[, 1, 1])
    alpha: Tensor | None = None  # ()

    SUFFIXES: ClassVar = {"oft_blocks": "oft_blocks", "rescale": "rescale", "alpha": "alpha"}
    SIGNS: ClassVar = frozenset({"oft_blocks"})

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        stages, blocks, size, _ = self.oft_blocks.shape
        rotations = cayley(constrained(self.oft_blocks.to(change), self.alpha, len(change)))
        one = torch.eye(size, dtype=change.dtype, device=change.device)
        original = by_rows(pristine, change).flatten(1)
        columns = original.shape[1]
        rotated = original
        for stage in range(stages):
            # Half blocks 2^stage halves apart are paired, rotated, and put back.
            far = 2**stage * size // 2
            paired = rotated.view(-1, 2, far, columns).transpose(1, 2).reshape(blocks, size, columns)
            added = strength * ((rotations[stage] - one) @ paired)
            rotated = rotated + added.view(-1, far, 2, columns).transpose(1, 2).reshape(len(change), columns)
        if self.rescale is not None:
            rotated = rotated * (1 + strength * (self.rescale.to(change).reshape(-1, 1) - 1))
        change.add_((rotated - original).view(change.shape))

    @property
    def name(self) -> str:
        return "boft"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.oft_blocks.shape[1] * self.oft_blocks.shape[2], ANY)

    def problems(self) -> Iterator[str]:
        yield from scalar_problems(alpha=self.alpha)
        shape = tuple(self.oft_blocks.shape)
        if len(shape) != 4 or shape[2] != shape[3] or shape[2] % 2:
            yield f"oft_blocks {shape} is neither (k, n, n) nor (m, k, b, b) with b even"
            return
        # The last stage pairs over 2^m halves, which must divide the outputs.
        if shape[0] > 32 or (shape[1] * 2) % 2 ** shape[0]:
            yield f"oft_blocks {shape} has {shape[0]} stages, more than {shape[1]} blocks can be paired in"
        yield from rescale_problems(self.rescale, self.shape[0])
        yield from cayley_problems(self.oft_blocks, "oft_blocks")
