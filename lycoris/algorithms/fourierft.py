"""FourierFT: a change with a sparse spectrum over the whole weight."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Size, Tensor

from lycoris.algorithms.change import ANY, Change, scalar_problems


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FourierFT(Change):
    """W₀ + s·scaling·Re(ifft2(S)), where S holds the spectrum at positions drawn from a seed.

    Gao et al., *Parameter-Efficient Fine-Tuning with Discrete Fourier Transform*, 2024 (arXiv 2405.03003), as PEFT
    `FourierFTConfig` writes it: the positions are the first of torch's `randperm(o·i)`, row by row; scaling (150 by
    default) and seed (777) are only in the configuration.
    """

    fourierft_spectrum: Tensor  # (n,)
    fourierft_scaling: Tensor  # ()
    random_loc_seed: Tensor  # ()

    SUFFIXES: ClassVar = {name: name for name in ("fourierft_spectrum", "fourierft_scaling", "random_loc_seed")}
    SIGNS: ClassVar = frozenset({"fourierft_spectrum"})

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        draw = torch.Generator().manual_seed(int(self.random_loc_seed))
        positions = torch.randperm(change.numel(), generator=draw)[: len(self.fourierft_spectrum)].to(change.device)
        flat = change.new_zeros(change.numel()).index_put((positions,), self.fourierft_spectrum.to(change))
        waves = torch.fft.ifft2(flat.view(len(change), -1)).real
        change.add_(waves.reshape(change.shape), alpha=strength * float(self.fourierft_scaling))

    @property
    def name(self) -> str:
        return "fourierft"

    @property
    def shape(self) -> tuple[int, ...]:
        return (ANY, ANY)

    def problems(self) -> Iterator[str]:
        yield from scalar_problems(fourierft_scaling=self.fourierft_scaling, random_loc_seed=self.random_loc_seed)
        if self.fourierft_spectrum.ndim != 1:
            yield f"fourierft_spectrum must be a vector and is of shape {tuple(self.fourierft_spectrum.shape)}"
        if self.random_loc_seed.numel() == 1 and not 0 <= int(self.random_loc_seed) < 2**63:
            yield "random_loc_seed is not a seed"

    def misfit(self, target: Size | tuple[int, ...]) -> str | None:
        if len(target) < 2 or prod(target[2:]) != 1:
            return f"is a spectrum of a matrix, and the model's is {tuple(target)}"
        if len(self.fourierft_spectrum) > target[0] * target[1]:
            return f"has {len(self.fourierft_spectrum)} coefficients, more than a {tuple(target)} weight has elements"
        return None
