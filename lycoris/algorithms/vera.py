"""VeRA: two random matrices shared by all layers, scaled by two vectors per layer."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from torch import Size, Tensor

from lycoris.algorithms.change import ANY, ByRows
from lycoris.kernels.prepared import LowRankProduct, PreparedChange, WeightView
from lycoris.kernels.scratch import Scratch


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class VeRA(ByRows):
    """W₀ + s·(λ_b ∘ B[:o])·(λ_d ∘ A[:, :i]).

    Kopiczko et al., *VeRA*, 2023 (arXiv 2310.11454), as PEFT `VeraConfig` writes it. A and B are shared by the whole
    file, as large as its largest layer; a file without them (`save_projection=False`) is refused, because a seed does
    not give the same values everywhere.
    """

    vera_lambda_b: Tensor  # (o,)
    vera_lambda_d: Tensor  # (r,)
    vera_A: Tensor  # (r, at least i)
    vera_B: Tensor  # (at least o, r)

    SUFFIXES: ClassVar = {name: name for name in ("vera_lambda_b", "vera_lambda_d", "vera_A", "vera_B")}
    SIGNS: ClassVar = frozenset({"vera_lambda_b", "vera_lambda_d"})

    def prepare(self, weight: WeightView, scratch: Scratch) -> PreparedChange:
        outputs, inputs = weight.shape[0], prod(weight.shape[1:])
        up, down = (
            weight.factor(shared) * weight.factor(own)[:, None]
            for shared, own in (
                (self.vera_B[:outputs], self.vera_lambda_b),
                (self.vera_A[:, :inputs], self.vera_lambda_d),
            )
        )
        return LowRankProduct(up, down, 1.0)

    @property
    def name(self) -> str:
        return "vera"

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.vera_lambda_b), ANY)

    @property
    def rank(self) -> int:
        return len(self.vera_lambda_d)

    def problems(self) -> Iterator[str]:
        tensors = (self.vera_lambda_b, self.vera_lambda_d, self.vera_A, self.vera_B)
        shapes = [tuple(tensor.shape) for tensor in tensors]
        if [len(shape) for shape in shapes] != [1, 1, 2, 2]:
            yield f"vera_lambda_b, vera_lambda_d, vera_A, vera_B {shapes} are not two vectors and two matrices"
        elif shapes[2][0] != self.rank or shapes[3][1] != self.rank or shapes[3][0] < shapes[0][0]:
            yield f"vera_lambda_b, vera_lambda_d, vera_A, vera_B {shapes} do not join"

    def misfit(self, target: Size | tuple[int, ...]) -> str | None:
        outputs, inputs = len(self.vera_lambda_b), self.vera_A.shape[1]
        if len(target) < 2 or target[0] != outputs or target[1] > inputs or prod(target[2:]) != 1:
            return f"has {outputs} outputs and at most {inputs} inputs for a {tuple(target)} weight"
        return None
