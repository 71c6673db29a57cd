"""What a v-predicting model is taught (Salimans & Ho 2022, arXiv:2202.00512)."""

import torch
from torch import Tensor


def noised(clean: Tensor, noise: Tensor, alphas: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Latents at each row's timestep, and the v that belongs to them; `alphas` are the scheduler's cumulative ones."""
    signal = alphas[times].sqrt().view(-1, 1, 1, 1)
    dirt = (1 - alphas[times]).sqrt().view(-1, 1, 1, 1)
    return signal * clean + dirt * noise, signal * noise - dirt * clean


def chance(shape: torch.Size, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise of a shape and one uniform timestep a row, by the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(shape, generator=generator)
    return noise, torch.randint(0, steps, (shape[0],), generator=generator)
