"""Samplers by the names people use, over any base whose own scheduler is one of diffusers' compatible family."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import diffusers


@dataclass(frozen=True)
class Sampler:
    """A diffusers scheduler class and what is set on it over the base's own configuration."""

    scheduler: str
    options: Mapping[str, Any] = field(default_factory=dict)


SAMPLERS: dict[str, Sampler] = {
    "ddim": Sampler("DDIMScheduler"),
    "ddpm": Sampler("DDPMScheduler"),
    "euler": Sampler("EulerDiscreteScheduler"),
    "euler_a": Sampler("EulerAncestralDiscreteScheduler"),
    "dpmpp_2m": Sampler("DPMSolverMultistepScheduler"),
    "dpmpp_2m_karras": Sampler("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "dpmpp_2m_sde": Sampler("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": Sampler("UniPCMultistepScheduler"),
    "lcm": Sampler("LCMScheduler"),
}


def available(own: Any) -> list[str]:
    """Names of the samplers that a base with the scheduler `own` can use besides it."""
    compatible = {kind.__name__ for kind in getattr(own, "compatibles", [])}
    return [name for name, sampler in SAMPLERS.items() if sampler.scheduler in compatible]


def make(name: str | None, own: Any) -> Any:
    """A fresh scheduler: the base's own for None; samplers keep state, so one is never used for two pictures."""
    if name is None:
        return type(own).from_config(own.config)
    sampler = SAMPLERS[name]
    return getattr(diffusers, sampler.scheduler).from_config(own.config, **sampler.options)
