"""Which noise levels are trained: the same ones for every scheduler of a base, by its configuration."""

from math import exp
from typing import Any

import torch
from diffusers.training_utils import compute_density_for_timestep_sampling

from workers.training.plan import WeightingScheme

MODE_SCALE = 1.29  # of the density `mode`, as diffusers' training scripts have it (SD 3, arXiv:2403.03206)


def shift_of(scheduler: Any, mu: float | None) -> float:
    """Return by how much the times of flow matching are shifted towards noise.

    mu: what the pipeline tells its scheduler of the size, linear in the number of tokens.
    """
    config = scheduler.config
    if config.get("use_dynamic_shifting") and mu is not None:
        return exp(mu) if config.get("time_shift_type", "exponential") == "exponential" else mu
    return float(config.get("flow_shift") or config.get("shift") or 1.0)


def flow_time(weighting_scheme: WeightingScheme, shift: float, generator: torch.Generator) -> float:
    """Return one time of flow matching, from 0 (picture) to 1 (noise)."""
    drawn = compute_density_for_timestep_sampling(
        weighting_scheme, 1, logit_mean=0.0, logit_std=1.0, mode_scale=MODE_SCALE, generator=generator
    )
    return shifted(float(drawn), shift)


def shifted(time: float, shift: float) -> float:
    """Return a time shifted as a pipeline of flow matching shifts its own (arXiv:2403.03206, section 5.3.2)."""
    return shift * time / (1.0 + (shift - 1.0) * time)
