"""A pipeline's call: its steps are told one by one, whatever the scheduler, and a spoilt picture is no picture."""

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from diffusers.schedulers.scheduling_scm import SCMScheduler
from PIL import Image

from app.shared.wire.generation import ResolvedRequest
from tests.app.shared.making import profile, request
from tests.workers import toy
from tests.workers.training import toys
from workers.drawing.sampling import Sampling, Spoilt
from workers.models.loading import LoadedModel
from workers.models.obeys import obeyed

ASKED = request(prompt="red disc", width=64, height=64, steps=5)


def served(pipeline: Any, **facts: Any) -> LoadedModel:
    """A pipeline as it is served; pipelines that are made up here obey no field but these."""
    obeys = obeyed(pipeline) | facts.pop("obeys", {})
    return LoadedModel(pipeline, {}, profile(obeys=obeys, **facts), folder=None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def real() -> LoadedModel:
    pipeline = toys.pipeline()
    pipeline.set_progress_bar_config(disable=True)
    return served(pipeline)


def steps_of(base: LoadedModel, asked: ResolvedRequest = ASKED) -> list[int]:
    told: list[int] = []
    Sampling(base).picture(asked, 1, told.append)
    return told


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in diffusers' Heun
@pytest.mark.parametrize("steps", [1, 2, 5, 7])
@pytest.mark.parametrize("own", [DDIMScheduler, PNDMScheduler, HeunDiscreteScheduler], ids=lambda one: one.__name__)
def test_each_step_of_the_request_is_told_in_turn_whatever_the_scheduler_takes(
    real: LoadedModel, own: Any, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PNDM takes one step more, Heun nearly twice as many."""
    monkeypatch.setattr(real.pipeline, "scheduler", own(skip_prk_steps=True) if own is PNDMScheduler else own())
    told = steps_of(real, request(prompt="red disc", steps=steps))
    assert told == sorted(told)
    assert [step for step in dict.fromkeys(told) if step] == list(range(1, steps + 1))
    assert told.count(steps) == 2, "when the last is made, and when the picture is there"


def test_a_scheduler_whose_last_timestep_is_no_step_ends_with_its_last_step() -> None:
    told: list[int] = []

    class Sprint(toy.Pipeline):
        def __call__(self, prompt: str, num_inference_steps: int, generator: torch.Generator) -> Any:
            self.scheduler.set_timesteps(num_inference_steps)
            for timestep in self.scheduler.timesteps[:-1]:
                told.append(-1)
                self.scheduler.step(torch.zeros(1), timestep, torch.ones(1))  # type: ignore[arg-type]
            return SimpleNamespace(images=[Image.new("RGB", (64, 64))])

    sprint = Sprint()
    sprint.scheduler = SCMScheduler()  # type: ignore[assignment]
    Sampling(served(sprint)).picture(request(steps=2), 1, told.append)
    assert told == [-1, 1, -1, 2, 2]


def test_a_picture_is_diffusers_own_and_the_same_whatever_was_drawn_before(real: LoadedModel) -> None:
    sampling = Sampling(real)
    first = np.asarray(sampling.picture(ASKED, 1, lambda _: None))
    sampling.picture(request(prompt="blue square", sampler="ddpm"), 2, lambda _: None)
    assert np.array_equal(np.asarray(sampling.picture(ASKED, 1, lambda _: None)), first)
    fresh = toys.pipeline()
    fresh.set_progress_bar_config(disable=True)
    call = {"num_inference_steps": 5, "guidance_scale": 3.0, "width": 64, "height": 64}
    with torch.inference_mode():
        own: Any = fresh("red disc", negative_prompt="", generator=torch.Generator("cpu").manual_seed(1), **call)
    assert np.array_equal(np.asarray(own.images[0]), first)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_pipeline_has_its_own_schedulers_again_and_no_hook(real: LoadedModel, stopped: bool) -> None:
    own, decoder = real.pipeline.scheduler, real.pipeline.vae.decoder

    def stop(_taken: int) -> None:
        if stopped:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        Sampling(real).picture(request(prompt="red disc", sampler="ddpm"), 1, stop)
    assert real.pipeline.scheduler is own
    assert not decoder._forward_hooks


def test_what_is_drawn_from_torchs_own_generator_is_of_the_seed_too() -> None:
    class Careless(toy.Pipeline):
        def __call__(self, prompt: str, num_inference_steps: int, generator: torch.Generator) -> Any:
            self.unet(torch.zeros(8, 8))
            generator = torch.Generator().manual_seed(int(torch.randint(1 << 30, ())))
            return super().__call__(prompt, num_inference_steps, generator)

    sampling = Sampling(served(Careless()))
    first, other, again = (sampling.picture(ASKED, seed, lambda _: None).tobytes() for seed in (1, 2, 1))
    assert first == again != other


# Pipelines in pipelines


class _Inner(DiffusionPipeline):
    def __init__(self, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(scheduler=scheduler)

    def run(self, steps: int) -> torch.Tensor:
        self.scheduler.set_timesteps(steps)
        sample = torch.full((8, 8), 0.5)
        for timestep in self.scheduler.timesteps:
            sample = self.scheduler.step(sample / 2, timestep, sample).prev_sample
        return sample


class _Combined(DiffusionPipeline):
    def __init__(self, prior_scheduler: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(prior_scheduler=prior_scheduler, scheduler=scheduler)
        self.prior_pipe, self.decoder_pipe = _Inner(prior_scheduler), _Inner(scheduler)

    def __call__(self, prompt: str, num_inference_steps: int, generator: torch.Generator) -> Any:
        self.prior_pipe.run(3)
        pixels = (self.decoder_pipe.run(num_inference_steps).sigmoid() * 255).to(torch.uint8).numpy()
        return SimpleNamespace(images=[Image.fromarray(pixels, "L").resize((64, 64))])


def test_a_combined_pipeline_tells_the_steps_that_were_asked_for_and_can_be_stopped_in_the_others() -> None:
    combined = _Combined(DDIMScheduler(), DDIMScheduler())
    assert steps_of(served(combined)) == [0, 0, 0, 1, 2, 3, 4, 5, 5]
    calls: list[int] = []

    def stop(taken: int) -> None:
        calls.append(taken)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Sampling(served(combined)).picture(ASKED, 1, stop)
    assert calls == [0]


def test_a_sampler_reaches_the_pipeline_that_uses_it() -> None:
    sampling = Sampling(served(_Combined(DDIMScheduler(), DDIMScheduler())))
    drawn = [sampling.picture(request(sampler=name), 1, lambda _: None).tobytes() for name in (None, "ddpm", None)]
    assert drawn[0] == drawn[2] != drawn[1]


# What comes out


@pytest.mark.parametrize(
    "output",
    [
        lambda picture: SimpleNamespace(images=[picture]),
        lambda picture: SimpleNamespace(image=[picture]),
        lambda picture: SimpleNamespace(frames=[[picture]]),
    ],
    ids=["images", "image", "frames"],
)
def test_a_picture_is_found_whatever_a_pipeline_calls_it(output: Any) -> None:
    still = Image.new("RGB", (64, 64), "red")

    class Films(toy.Pipeline):
        def __call__(self, prompt: str, num_inference_steps: int, generator: torch.Generator) -> Any:
            super().__call__(prompt, num_inference_steps, generator)
            return output(still)

    assert Sampling(served(Films())).picture(ASKED, 1, lambda _: None) is still


@pytest.mark.parametrize("part", ["unet", "vae.decoder", "text_encoder"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_picture_that_is_not_finite_is_refused_before_it_is_one(real: LoadedModel, part: str, value: float) -> None:
    module = real.pipeline
    for name in part.split("."):
        module = getattr(module, name)
    before = [weight.clone() for weight in module.parameters()]
    with torch.no_grad():
        for weight in module.parameters():
            weight.flatten()[0] = value
    try:
        with pytest.raises(Spoilt, match="has left the range of float32") as caught:
            Sampling(real).picture(ASKED, 1, lambda _: None)
        assert caught.value.code == "picture_not_finite"
    finally:
        with torch.no_grad():
            for weight, old in zip(module.parameters(), before, strict=True):
                weight.copy_(old)
    Sampling(real).picture(ASKED, 1, lambda _: None)


def test_a_pipeline_without_a_decoder_is_watched_too() -> None:
    base = toy.base()
    with torch.no_grad():
        base.pipeline.unet.block["to_q"].weight[0, 0] = float("nan")
    with pytest.raises(Spoilt, match="has left the range"):
        Sampling(base).picture(ASKED, 1, lambda _: None)


def test_the_sentence_for_half_precision_says_what_to_set() -> None:
    base = served(toy.Pipeline(), dtype="float16")
    with torch.no_grad():
        base.pipeline.unet.block["to_q"].weight[0, 0] = float("nan")
    with pytest.raises(Spoilt, match="set RADIATA_DTYPE=bfloat16"):
        Sampling(base).picture(ASKED, 1, lambda _: None)


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(Spoilt, match="has drawn 64×64 where 128×64 was asked for") as caught:
        Sampling(toy.base()).picture(request(width=128), 1, lambda _: None)
    assert caught.value.code == "size_not_obeyed"
