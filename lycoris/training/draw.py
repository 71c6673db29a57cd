"""Values that factors begin with: each decided by the seed, the layer's name and the factor's name alone."""

from dataclasses import dataclass, field
from hashlib import sha256
from math import prod, sqrt

import torch
from torch import Tensor


def generator(*facts: object) -> torch.Generator:
    """Return a generator that depends on these facts and on nothing that was drawn before."""
    digest = sha256("\n".join(map(str, facts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@dataclass(frozen=True)
class Draw:
    """Draws the factors of one layer, float32, on the CPU, so that every kind of device begins with the same bits."""

    seed: int
    layer: str
    _drawn: dict[str, Tensor] = field(default_factory=dict[str, Tensor], compare=False)

    def uniform(self, factor: str, *shape: int) -> Tensor:
        """Return values in ±1/√fan_in, what torch's linear layers and convolutions begin with."""
        drawn = torch.rand(shape, generator=generator(self.seed, self.layer, factor))
        return (drawn * 2 - 1) / sqrt(prod(shape[1:]))

    def once(self, factor: str, *shape: int) -> Tensor:
        """Return `uniform` of this factor: the same tensor every time, for layers that share it."""
        if factor not in self._drawn:
            self._drawn[factor] = self.uniform(factor, *shape)
        return self._drawn[factor]

    def normal(self, factor: str, deviation: float, *shape: int) -> Tensor:
        """Return normal values of this standard deviation."""
        return torch.randn(shape, generator=generator(self.seed, self.layer, factor)) * deviation
