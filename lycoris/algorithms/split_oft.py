"""Kohya's OFT of a transformer: each part of a fused layer is rotated by itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lycoris.algorithms.change import ANY, ByRows, scalar_problems
from lycoris.algorithms.oft import OutputRotation, Rotation, constrained, minus_identity
from lycoris.kernels.linalg import cayley, cayley_problems, holds
from lycoris.kernels.prepared import PreparedChange, WeightView
from lycoris.kernels.scratch import Scratch


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SplitOFT(OutputRotation, ByRows):
    """R_sᵀ·W₀ as in diag-OFT, but separately for each part of the outputs: q, k, v and, in a single block, the MLP.

    kohya `networks.oft_flux`, which writes a layer of one part in the same way. The constraint alpha·oⱼ is per part.
    """

    oft_blocks_0: Tensor  # (k, n₀, n₀), likewise below: k blocks in every part, of the part's own size
    oft_blocks_1: Tensor | None = None
    oft_blocks_2: Tensor | None = None
    oft_blocks_3: Tensor | None = None
    alpha: Tensor  # ()

    SUFFIXES: ClassVar = {f"oft_blocks.{part}": f"oft_blocks_{part}" for part in range(4)} | {"alpha": "alpha"}
    SIGNS: ClassVar = frozenset(SUFFIXES) - {"alpha"}

    def prepare(self, weight: WeightView, scratch: Scratch) -> PreparedChange:
        made = (constrained(weight.factor(blocks), self.alpha, _outputs(blocks)) for blocks in self._parts)
        return _Rotations(tuple(Rotation(minus_identity(cayley(skew)), None) for skew in made), weight.shape[0])

    @property
    def name(self) -> str:
        return "oft"

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(_outputs(blocks) for blocks in self._parts), ANY)

    @property
    def _parts(self) -> list[Tensor]:
        named = (self.oft_blocks_0, self.oft_blocks_1, self.oft_blocks_2, self.oft_blocks_3)
        return [blocks for blocks in named if blocks is not None]

    def problems(self) -> Iterator[str]:
        yield from scalar_problems(alpha=self.alpha)
        if holds(self.alpha <= 0):
            yield "its constraint is not above 0: no rotation could have been trained"
        if any(f"oft_blocks_{part}" not in self._names for part in range(len(self._parts))):
            yield "of its parts oft_blocks.0, oft_blocks.1, … one in between is missing"
        for blocks in self._parts:
            if blocks.ndim != 3:
                yield f"oft_blocks {tuple(blocks.shape)} of a part is not (k, n, n)"
            else:
                yield from cayley_problems(blocks, "oft_blocks of a part")

    @property
    def _names(self) -> set[str]:
        return {field for field in self.SUFFIXES.values() if getattr(self, field) is not None}


def _outputs(blocks: Tensor) -> int:
    return len(blocks) * blocks.shape[1]


@dataclass(frozen=True, eq=False)
class _Rotations(PreparedChange):
    """Rotations of parts, concatenated along dim 0."""

    parts: tuple[Rotation, ...]
    rows: int

    @property
    def row_multiple(self) -> int:
        return self.rows

    def add(self, change: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        for part in self.parts:
            stop = start + part.added.shape[0] * part.row_multiple
            part.add(change[start:stop], pristine[start:stop], strength, 0, scratch)
            start = stop
