"""Which samplers draw on a base: each is tried when the base is loaded, with a denoiser that is a formula.

The formula knows where the pictures lie (each value is normal about its own mean), so a working sampler ends near the
means. What a sampler ends with that raises, overflows or takes the noise levels for others than they are is far off.
"""

import math
import warnings
from collections.abc import Collection
from functools import cache
from typing import Any, NamedTuple

import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_flow_match_lcm import FlowMatchLCMScheduler
from torch import Tensor

from app.shared.wire.model import OWN_SAMPLER
from workers.models.samplers import (
    LEARNED,
    SIGMAS,
    compatible,
    eta_samplers,
    flows,
    kind_of,
    make,
    most_steps,
    spaced,
    table_of,
)

SHAPE = (1, 4, 4, 4)
STEPS = 5
MEAN, SPREAD = 0.6, 0.3  # values are about ±0.6: inside the ±1 that some bases clip to
NEAR = 0.2  # of the noise's mean square from the means: one flat colour is at 0.26
LEAST = 1e-4  # level of noise by which anything is divided
ZERO = 1e-4  # what some samplers have where the base has a signal of 0
RAISED = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError),
    *(LookupError, RuntimeError, TypeError, ValueError),
)


class Offer(NamedTuple):
    """The samplers that draw on a base, and of each the ways of spacing noise levels, and its most steps if limited.

    eta: those of them, and perhaps the base's own, that read it.
    """

    samplers: list[str]
    sigmas: dict[str, list[str]]
    steps: dict[str, int]
    eta: list[str]


def offer(own: Any | None, without: Collection[str] = ()) -> Offer:
    """Return what a base with the scheduler `own` can be asked for besides it; `without` are not tried."""
    if own is None:
        return Offer([], {}, {}, [])
    found: dict[str, Tensor] = {}
    for name in table_of(own):
        drawn = _drawn(name, own) if name not in without and compatible(name, own) else None
        if drawn is not None and not any(torch.equal(drawn, other) for other in found.values()):
            found[name] = drawn
    ways: dict[type, list[str]] = {}  # a class spaces its levels in one way, whatever else is set on it
    sigmas: dict[str, list[str]] = {}
    for name in (None, *(name for name in found if not spaced(name))):
        kind = kind_of(name, own)
        if kind not in ways:
            ways[kind] = [one for one in SIGMAS if _drawn(name, own, one) is not None]
        sigmas[name or OWN_SAMPLER] = ways[kind]
    limits = {name: limit for name in found if (limit := most_steps(name, own))}
    eta = [name for name in eta_samplers(own) if name in sigmas]
    return Offer(list(found), sigmas, limits, eta)


def _drawn(name: str | None, own: Any, sigmas: str | None = None) -> Tensor | None:
    """Return what a sampler ends with, or None where it does not draw."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of diffusers, about numpy
            sampler = make(name, own, sigmas, torch.Generator().manual_seed(1))
            end = _sampled(sampler, own) if _has_levels_of(sampler, own) else None
    except RAISED:
        return None
    return end if end is not None and _distance(end) < NEAR * _distance(_noise()) else None  # not a number is not less


def _has_levels_of(sampler: Any, own: Any) -> bool:
    """Tell whether a sampler means by a timestep the noise level that the base was trained on."""
    if flows(own):
        return True
    return torch.allclose(sampler.alphas_cumprod.double(), own.alphas_cumprod.double(), atol=ZERO)


def _sampled(sampler: Any, own: Any) -> Tensor:
    """Run a sampler as the pipelines do."""
    given: dict[str, Any] = {"mu": 1.0} if own.config.get("use_dynamic_shifting") else {}
    if isinstance(own, FlowMatchEulerDiscreteScheduler | FlowMatchLCMScheduler):
        given["sigmas"] = [1 - step / STEPS for step in range(STEPS)]  # as FLUX.1 does, and most others
    sampler.set_timesteps(None if "sigmas" in given else STEPS, device="cpu", **given)
    if flows(own) and sampler.sigmas.max() > 1:  # not between a picture and noise (Cosmos)
        raise ValueError("not the noise levels of flow matching")
    sample = _noise() * getattr(sampler, "init_noise_sigma", 1.0)
    for timestep in sampler.timesteps:
        if flows(own):
            predicted = _flow(sample, timestep, own)
        else:
            predicted = _diffusion(sampler.scale_model_input(sample, timestep), timestep, sampler, own)
        sample = sampler.step(predicted, timestep, sample, return_dict=False)[0]
    return sample


def _flow(sample: Tensor, timestep: Tensor, own: Any) -> Tensor:
    """Return the velocity, from the picture to the noise, at `timestep`."""
    level = float(timestep) / own.config.num_train_timesteps
    return (sample - _picture(sample, 1 - level, level)) / max(level, LEAST)


def _diffusion(sample: Tensor, timestep: Tensor, sampler: Any, own: Any) -> Tensor:
    """Return what the base predicts at `timestep`, by its own noise levels."""
    signal = float(_between(own.alphas_cumprod, float(timestep)))
    share, level = math.sqrt(signal), math.sqrt(1 - signal)
    picture = _picture(sample, share, level)
    noise = (sample - share * picture) / max(level, LEAST)
    kinds = {"epsilon": noise, "sample": picture, "v_prediction": share * noise - level * picture}
    predicted = kinds[own.config.prediction_type]
    # Some denoisers predict the variance too, and pipelines hand it over where the sampler says that it reads it
    learned = sampler.config.get("variance_type") in LEARNED
    return torch.cat([predicted, torch.zeros_like(predicted)], dim=1) if learned else predicted


def _picture(sample: Tensor, share: float, level: float) -> Tensor:
    """Return the best guess of the picture in `share` × picture + `level` × noise."""
    gain = share * SPREAD**2 / (share**2 * SPREAD**2 + level**2 + LEAST**2)
    return _means() + gain * (sample - share * _means())


def _between(levels: Tensor, timestep: float) -> Tensor:
    """Return the value at a timestep that may lie between two."""
    low = min(int(timestep), len(levels) - 1)
    high = min(low + 1, len(levels) - 1)
    return torch.lerp(levels[low], levels[high], timestep - low)


@cache
def _noise() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


@cache
def _means() -> Tensor:
    return MEAN * _noise().roll(1, -1).sign()


def _distance(sample: Tensor) -> float:
    return float((sample - _means()).square().mean())
