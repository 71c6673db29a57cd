"""Samplers: those that are offered draw, each in its own way, whatever kind of noise levels a base has."""

from functools import cache
from importlib import import_module
from typing import Any

import pytest
import torch

from app.shared.wire.model import OWN_SAMPLER
from workers.models.sampler_trial import Offer, offer
from workers.models.samplers import FLOW_SAMPLERS, SAMPLERS, SIGMAS, flows, make, table_of

# diffusers' own schedulers, with the newest numpy
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

diffusers: Any = import_module("diffusers")  # it loads its classes lazily, which no type checker sees
STABLE: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
FLOW: dict[str, Any] = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
# The schedulers of published bases
OWNS: dict[str, Any] = {
    "SD 1.5": diffusers.PNDMScheduler(**STABLE, skip_prk_steps=True, set_alpha_to_one=False),
    "SD 2": diffusers.DDIMScheduler(**STABLE, prediction_type="v_prediction", clip_sample=False),
    "SDXL": diffusers.EulerDiscreteScheduler(**STABLE, timestep_spacing="leading"),
    "zero-SNR": diffusers.DDIMScheduler(
        **STABLE, prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    ),
    "PixArt": diffusers.DPMSolverMultistepScheduler(),
    "HunyuanDiT": diffusers.DDPMScheduler(**STABLE, prediction_type="v_prediction", clip_sample=False),
    "Kandinsky 2.2": diffusers.DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, variance_type="learned_range", clip_sample=False, thresholding=True
    ),
    "Kandinsky 3": diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
    "SD 3": diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    "FLUX.1 schnell": diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0),
    "FLUX.1": diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    "Qwen-Image": diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.02),
    "HiDream dev": diffusers.FlowMatchLCMScheduler(shift=6.0),
    "Sana": diffusers.DPMSolverMultistepScheduler(**FLOW),
    "Wan": diffusers.UniPCMultistepScheduler(**FLOW),
}
# Whose noise levels no other scheduler has
ALONE: dict[str, Any] = {
    "CogView3+": diffusers.CogVideoXDDIMScheduler(snr_shift_scale=4.0, prediction_type="v_prediction"),
    "Playground 2.5": diffusers.EDMEulerScheduler(),
    "Sana-Sprint": diffusers.SCMScheduler(),
    "Cosmos 2": diffusers.FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True),
}
ALONE["Cosmos 2"].register_to_config(sigma_min=0.002, sigma_max=80.0)
SHAPE = (1, 4, 4, 4)


@cache
def offered(base: str) -> Offer:
    return offer(OWNS[base])


def ended(own: Any, name: str | None, sigmas: str | None = None, steps: int = 6) -> torch.Tensor:
    """What a sampler makes of noise, with a denoiser that answers with half of what it is given."""
    sampler = make(name, own, sigmas, torch.Generator().manual_seed(1))
    sampler.set_timesteps(steps, device="cpu", **({"mu": 1.15} if own.config.get("use_dynamic_shifting") else {}))
    sample = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)) * getattr(sampler, "init_noise_sigma", 1.0)
    learned = sampler.config.get("variance_type") == "learned_range"
    for timestep in sampler.timesteps:
        seen = sample if flows(own) else sampler.scale_model_input(sample, timestep)
        answer = torch.cat([seen / 2, seen * 0], dim=1) if learned else seen / 2
        sample = sampler.step(answer, timestep, sample, return_dict=False)[0]
    return sample


def test_eta_is_offered_where_a_step_reads_it() -> None:
    assert "own" in offered("SD 2").eta
    assert not offer(ALONE["CogView3+"]).eta  # its step takes one, and does nothing with it


def test_a_sampler_that_a_family_cannot_run_is_not_offered() -> None:
    assert offer(OWNS["SD 3"], without=("heun",)).samplers == [one for one in offered("SD 3").samplers if one != "heun"]
    assert "heun" in offered("SD 3").samplers


@pytest.mark.parametrize("base", OWNS)
def test_each_sampler_offered_draws_finite_and_in_its_own_way(base: str) -> None:
    own = OWNS[base]
    assert offered(base).samplers == list(table_of(own)), "each of these bases can be drawn with every one"
    drawn = {name: ended(own, name) for name in offered(base).samplers}
    for name, one in drawn.items():
        assert one.isfinite().all() and one.std() > 0.001, name
        assert not any(torch.equal(one, other) for twin, other in drawn.items() if twin != name), name


@pytest.mark.parametrize("base", OWNS)
def test_each_spacing_offered_draws_finite_and_in_its_own_way(base: str) -> None:
    own = OWNS[base]
    for name, ways in offered(base).sigmas.items():
        asked = None if name == OWN_SAMPLER else name
        drawn = {way: ended(own, asked, way) for way in ways}
        for way, one in drawn.items():
            assert one.isfinite().all() and one.std() > 0.001, (name, way)
            assert not any(torch.equal(one, other) for twin, other in drawn.items() if twin != way), (name, way)


@pytest.mark.parametrize("base", [name for name, own in OWNS.items() if flows(own)])
def test_a_base_of_flow_matching_has_every_spacing_with_every_sampler(base: str) -> None:
    assert all(ways == list(SIGMAS) for ways in offered(base).sigmas.values())


def test_a_name_that_says_a_spacing_takes_no_other() -> None:
    sigmas = offered("SD 1.5").sigmas
    assert sigmas["dpmpp_2m"] == list(SIGMAS) and "dpmpp_2m_karras" not in sigmas
    assert torch.equal(ended(OWNS["SD 1.5"], "dpmpp_2m", "karras"), ended(OWNS["SD 1.5"], "dpmpp_2m_karras"))


@pytest.mark.parametrize("base", ALONE)
def test_noise_levels_that_no_other_has_leave_the_base_its_own_sampler(base: str) -> None:
    assert offer(ALONE[base]).samplers == []


def test_the_sampler_of_consistency_models_says_how_many_steps_it_takes() -> None:
    assert offer(diffusers.LCMScheduler(original_inference_steps=40)).steps == {"lcm": 40}
    assert offered("SD 1.5").steps == {"lcm": 50}
    assert offered("FLUX.1").steps == {}


def test_no_scheduler_no_samplers() -> None:
    assert offer(None) == ([], {}, {}, [])


@pytest.mark.parametrize("name", [None, *SAMPLERS])
def test_a_sampler_is_fresh_and_of_its_base(name: str | None) -> None:
    own = diffusers.DDIMScheduler(beta_start=0.001, prediction_type="v_prediction")
    before = dict(own.config)
    first, second = make(name, own), make(name, own)
    assert first is not second and first is not own
    assert (first.config.beta_start, first.config.prediction_type) == (0.001, "v_prediction")
    first.set_timesteps(5)
    assert dict(own.config) == before and own.num_inference_steps is None
    if name is None:
        assert type(first) is type(own) and first.config.keys() == before.keys()
    else:
        options = SAMPLERS[name].options
        assert {key: first.config[key] for key in options} == dict(options)


def test_levels_that_a_configuration_leaves_out_are_those_of_its_own_class() -> None:
    """A scheduler of another class would take its own instead: the LCM's are not the DDIM's."""
    own = diffusers.DDIMScheduler()
    assert torch.equal(make("lcm", own).alphas_cumprod, own.alphas_cumprod)


@pytest.mark.parametrize("name", [*SAMPLERS, *FLOW_SAMPLERS])
def test_noise_comes_from_the_generator_that_the_picture_has(name: str) -> None:
    """Though a pipeline hands none over: the same twice, whatever PyTorch's own was at."""
    own = OWNS["SD 1.5"] if name in SAMPLERS else OWNS["FLUX.1"]
    first = ended(own, name)
    torch.rand(1)
    assert torch.equal(first, ended(own, name))


def test_every_pipeline_can_drive_every_sampler() -> None:
    """Kandinsky 3 hands each step a generator, Wan sets the first index, whatever the sampler knows of either."""
    for name, own in [*((one, OWNS["SD 1.5"]) for one in SAMPLERS), *((one, OWNS["Wan"]) for one in FLOW_SAMPLERS)]:
        sampler = make(name, own)
        sampler.set_timesteps(4, device="cpu")
        sampler.set_begin_index(0)
        sampler.step(torch.ones(SHAPE), sampler.timesteps[0], torch.ones(SHAPE), generator=torch.Generator())


def test_euler_is_what_a_base_of_flow_matching_does_by_itself() -> None:
    for base in ("SD 3", "FLUX.1", "Qwen-Image"):
        assert torch.equal(ended(OWNS[base], "euler"), ended(OWNS[base], None))


def test_a_solver_has_the_levels_that_the_pipeline_asks_for() -> None:
    own = OWNS["FLUX.1"]
    sigmas, mu = [1.0, 0.7, 0.2], 0.8
    base = make(None, own)
    base.set_timesteps(sigmas=sigmas, mu=mu)
    unipc, heun = make("unipc", own), make("heun", own)
    for one in (unipc, heun):
        one.set_timesteps(sigmas=sigmas, mu=mu)
    assert torch.equal(unipc.timesteps, base.timesteps)
    assert torch.allclose(unipc.sigmas, base.sigmas, atol=2e-6), "but for the logarithm of nothing"
    assert heun.order == 2 and torch.equal(heun.timesteps, base.timesteps[[0, 1, 1, 2, 2]])


def test_simple_levels_begin_evenly() -> None:
    own = OWNS["SD 3"]
    sampler = make(None, own, "simple")
    sampler.set_timesteps(4)
    even = torch.tensor([1, 0.75, 0.5, 0.25])
    assert torch.allclose(sampler.sigmas[:-1], 3 * even / (1 + 2 * even))


def test_a_spacing_that_a_sampler_has_not_is_an_error() -> None:
    with pytest.raises(ValueError, match="ddim has no karras sigmas"):
        make("ddim", OWNS["SD 1.5"], "karras")
