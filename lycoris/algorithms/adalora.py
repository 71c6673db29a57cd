"""AdaLoRA: a low-rank change in the form of a singular value decomposition, its rank found in training."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from torch import Tensor

from lycoris.algorithms.change import ByRows, scalar_problems
from lycoris.kernels.linalg import matrix
from lycoris.kernels.prepared import LowRankProduct, PreparedChange, WeightView
from lycoris.kernels.scratch import Scratch

EPS = 1e-5  # PEFT adds it to the rank, against division by zero


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AdaLoRA(ByRows):
    """W₀ + s·γ·B·(E ∘ A), with γ = alpha/(r + 10⁻⁵), r the rank that training kept.

    Zhang et al., *AdaLoRA*, 2023 (arXiv 2303.10512), as PEFT `AdaLoraConfig` writes it; alpha is only in the
    configuration, and 0 or less means r.
    """

    lora_up: Tensor  # lora_B (o, r)
    lora_down: Tensor  # lora_A (r, i·∏k)
    lora_E: Tensor  # (r, 1)
    alpha: Tensor | None = None  # ()

    SUFFIXES: ClassVar = {
        "lora_up.weight": "lora_up",
        "lora_down.weight": "lora_down",
        "lora_E": "lora_E",
        "alpha": "alpha",
    }
    SIGNS: ClassVar = frozenset({"lora_E"})

    def prepare(self, weight: WeightView, scratch: Scratch) -> PreparedChange:
        alpha = 0.0 if self.alpha is None else float(self.alpha)
        up, down, middle = (weight.factor(matrix(factor)) for factor in (self.lora_up, self.lora_down, self.lora_E))
        return LowRankProduct(up, down * middle, (alpha if alpha > 0 else self.rank) / (self.rank + EPS))

    @property
    def name(self) -> str:
        return "adalora"

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.lora_up), *self.lora_down.shape[1:])

    @property
    def rank(self) -> int:
        return len(self.lora_down)

    def problems(self) -> Iterator[str]:
        yield from scalar_problems(alpha=self.alpha)
        up, down, middle = (tuple(tensor.shape) for tensor in (self.lora_up, self.lora_down, self.lora_E))
        if len(up) < 2 or len(down) < 2 or prod(up[2:]) != 1 or up[1] != down[0] or middle != (down[0], 1):
            yield f"lora_B {up}, lora_E {middle} and lora_A {down} do not join"
