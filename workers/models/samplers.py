"""Samplers by the names people use, over any base: what each is made of, and which of them draw (`sampler_trial`)."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import diffusers

from app.shared.wire.model import OWN_SAMPLER
from workers.models.flow_sampler import FlowSampler


@dataclass(frozen=True)
class Sampler:
    """A diffusers scheduler class and what is set on it."""

    scheduler: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> type:
        """The class itself."""
        return getattr(diffusers, self.scheduler)


KARRAS = {"use_karras_sigmas": True}
SDE = {"algorithm_type": "sde-dpmsolver++"}
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}

# Over the configuration of a base that predicts noise, velocity or the picture
SAMPLERS: dict[str, Sampler] = {
    "ddim": Sampler("DDIMScheduler"),
    "ddpm": Sampler("DDPMScheduler"),
    "euler": Sampler("EulerDiscreteScheduler"),
    "euler_a": Sampler("EulerAncestralDiscreteScheduler"),
    "dpmpp_2m": Sampler("DPMSolverMultistepScheduler"),
    "dpmpp_2m_karras": Sampler("DPMSolverMultistepScheduler", KARRAS),
    "dpmpp_2m_sde": Sampler("DPMSolverMultistepScheduler", SDE),
    "unipc": Sampler("UniPCMultistepScheduler"),
    "lcm": Sampler("LCMScheduler"),
}
# Over the noise levels of a base of flow matching
FLOW_SAMPLERS: dict[str, Sampler] = {
    "euler": Sampler("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": False}),
    "heun": Sampler("FlowMatchHeunDiscreteScheduler"),
    "dpmpp_2m": Sampler("DPMSolverMultistepScheduler", FLOW),
    "dpmpp_2m_sde": Sampler("DPMSolverMultistepScheduler", FLOW | SDE),
    "unipc": Sampler("UniPCMultistepScheduler", FLOW),
    "lcm": Sampler("FlowMatchLCMScheduler"),
}
USUAL = {"use_karras_sigmas": False, "use_exponential_sigmas": False, "use_beta_sigmas": False}
# The ways of spacing noise levels. `simple` of ComfyUI and A1111 is what diffusers calls trailing
SIGMAS: dict[str, Mapping[str, Any]] = {
    "karras": USUAL | KARRAS,
    "exponential": USUAL | {"use_exponential_sigmas": True},
    "beta": USUAL | {"use_beta_sigmas": True},
    "simple": {"timestep_spacing": "trailing"},
}
FLOW_SCHEDULERS = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler")
LEVELS = "FlowMatchEulerDiscreteScheduler"  # the one that can space the levels of flow matching in every way
STAND_INS = {"LCMScheduler": ("DDIMScheduler",)}  # its own list of what it is compatible with is empty
DECISIVE = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type")
LIMIT = "original_inference_steps"  # of the teacher of a consistency model: a student takes some of them
ETA_UNREAD = ("CogVideoXDDIMScheduler", "CogVideoXDPMScheduler")  # their steps take `eta`, and do nothing with it
LEARNED = ("learned", "learned_range")


def flows(own: Any) -> bool:
    """Tell whether a scheduler is one of flow matching."""
    return type(own).__name__ in FLOW_SCHEDULERS or own.config.get("prediction_type") == "flow_prediction"


def table_of(own: Any) -> Mapping[str, Sampler]:
    """Return the samplers that may fit a base with the scheduler `own`."""
    return FLOW_SAMPLERS if flows(own) else SAMPLERS


def compatible(name: str, own: Any) -> bool:
    """Tell whether diffusers has a sampler for schedulers as the base's own."""
    if flows(own):
        return True
    kind = kind_of(name, own).__name__
    known = {one.__name__ for one in getattr(own, "compatibles", [])}
    return bool(known & {kind, *STAND_INS.get(kind, ())})


def spaced(name: str) -> bool:
    """Tell whether a sampler's name says how its noise levels are spaced."""
    return name in SAMPLERS and KARRAS.items() <= SAMPLERS[name].options.items()


def kind_of(name: str | None, own: Any) -> Any:
    """Return the class of the scheduler that takes a sampler's steps; None is the base's own sampler."""
    return type(own) if name is None else table_of(own)[name].kind


def eta_samplers(own: Any | None) -> list[str]:
    """Return the samplers that read `eta`, of those that may fit a base."""
    names = () if own is None else (None, *(name for name in table_of(own) if compatible(name, own)))
    kinds = {name or OWN_SAMPLER: kind_of(name, own) for name in names}
    takes = {name for name, kind in kinds.items() if "eta" in inspect.signature(kind.step).parameters}
    return [name for name, kind in kinds.items() if name in takes and kind.__name__ not in ETA_UNREAD]


def most_steps(name: str, own: Any) -> int | None:
    """Return how many steps a sampler can take at most, or None where it has no limit of its own."""
    limit = inspect.signature(kind_of(name, own).__init__).parameters.get(LIMIT)
    return own.config.get(LIMIT, limit.default) if limit else None


def make(name: str | None, own: Any, sigmas: str | None = None, generator: Any = None) -> Any:
    """Return a fresh scheduler: samplers keep state, so one is never used for two pictures.

    name: one of `table_of(own)`, or None for the base's own. generator: for the noise of its steps, where the pipeline
    hands none over. Raises ValueError where the sampler cannot space its noise levels so.
    """
    made = _flow(name, own, sigmas, generator) if flows(own) else _diffusion(name, own, sigmas)
    return _driven(made, generator)


def _diffusion(name: str | None, own: Any, sigmas: str | None) -> Any:
    kind, options = kind_of(name, own), {} if name is None else SAMPLERS[name].options
    spacing = dict(SIGMAS[sigmas]) if sigmas else {}
    if sigmas == "simple" and _takes(kind, USUAL):
        spacing |= USUAL
    if not _takes(kind, spacing):
        raise ValueError(f"{name or 'its own sampler'} has no {sigmas} sigmas")
    made = _over(own, kind, **options, **spacing)
    if kind is not type(own) and made.config.get("variance_type") in LEARNED:
        made.register_to_config(variance_type=None)  # it reads none; Kandinsky 2.2 looks here whether to leave it out
    return made


def _flow(name: str | None, own: Any, sigmas: str | None, generator: Any) -> Any:
    kind, options = kind_of(name, own), {} if name is None else FLOW_SAMPLERS[name].options
    if sigmas is None and kind is type(own):
        return kind.from_config(own.config, **options)
    # Its levels are set from outside: it needs no shift, nor a way of spacing
    solver = kind.from_config(own.config, **{**options, **USUAL, "use_dynamic_shifting": False, "shift_terminal": None})
    if sigmas is None:
        return FlowSampler(_driven(solver, generator), type(own).from_config(own.config))
    shift = {"shift": own.config["flow_shift"]} if "flow_shift" in own.config else {}
    spacing = USUAL if sigmas == "simple" else SIGMAS[sigmas]
    levels = getattr(diffusers, LEVELS).from_config(own.config, **shift, **spacing)
    return FlowSampler(_driven(solver, generator), levels, evenly=sigmas == "simple")


def _over(own: Any, kind: Any, **options: Any) -> Any:
    """Return a scheduler over the base's own configuration."""
    # Said again: where a configuration leaves them out, classes do not agree on them
    said = {name: value for name, value in own.config.items() if name in DECISIVE}
    return kind.from_config(own.config, **{**said, **options})


def _takes(kind: type, options: Mapping[str, Any]) -> bool:
    """Tell whether a scheduler class has all of these options."""
    return options.keys() <= inspect.signature(kind.__init__).parameters.keys()


def _driven(scheduler: Any, generator: Any) -> Any:
    """Return a scheduler with what every pipeline may call: some hand each step a generator, others none.

    Without one the noise of a step would come from PyTorch's own, which no seed of a request decides. A picture begins
    with noise, so the first timestep is the first; a scheduler that has to guess goes wrong where two are the same.
    """
    step: Callable[..., Any] = scheduler.step
    set_timesteps: Callable[..., Any] = scheduler.set_timesteps
    noisy = "generator" in inspect.signature(step).parameters

    @wraps(step)  # a pipeline looks at what a step takes
    def stepped(*inputs: Any, generator: Any = generator, **more: Any) -> Any:
        return step(*inputs, **more, **({"generator": generator} if noisy else {}))

    @wraps(set_timesteps)
    def begun(*inputs: Any, **more: Any) -> None:
        set_timesteps(*inputs, **more)
        scheduler.set_begin_index(0)

    scheduler.step, scheduler.set_timesteps = stepped, begun
    if not hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index = _nothing
    return scheduler


def _nothing(begin_index: int = 0) -> None:
    """Begin: a scheduler that looks up its levels by the timestep has no index to set."""
