"""One objective for every family: what is recorded is the pipeline's own, and learning by it lowers a held-out loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from safetensors.torch import load

from app.shared.errors import BadRequest
from lycoris.training.plan import plan as planned
from lycoris.training.trainable import begin
from tests.families.registry import FAMILIES
from tests.families.serving import Served
from tests.workers.training import trained
from workers.models.loading import LoadedModel
from workers.models.samplers import flows
from workers.training.objective import Objective
from workers.training.plan import Sample
from workers.training.recording import Recorded, Recorder
from workers.training.samples import Samples
from workers.training.times import shift_of

# Of libraries, about what they will do one day
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "FutureWarning", "UserWarning")
]
REFUSED = {  # as far as it is known: each ends with a sentence
    **dict.fromkeys(("lcm", "sana-sprint"), "distilled"),
    **dict.fromkeys(("wan-2.2", "ideogram-4"), "parts that denoise"),
    **dict.fromkeys(("qwen-image-2.1", "kandinsky-2.2", "kandinsky-3", "kandinsky-5"), "latents"),
    **dict.fromkeys(("qwen-image-edit", "qwen-image-edit-plus"), "cannot be recorded"),  # they draw from a picture
    "z-image-omni": "something else than the sample",
    **dict.fromkeys(("cosmos-2", "ernie-image", "dreamlite", "dreamlite-mobile"), "latents"),
}
EVERY = tuple(FAMILIES)
IN_THE_GATE = ("sd-2", "z-image", "lcm")  # velocity; a list, its time and sign turned round; refused
TEXTS = ("a red apple", "a blue square and the sea under a bridge of wood", "")
LINES: dict[str, tuple[float, float, float]] = {  # slope and offset of the time, and sign: as the pipelines have them
    "sd-2": (1.0, 0.0, 1.0),
    "sd-3": (1.0, 0.0, 1.0),
    "flux.1-dev": (1e-3, 0.0, 1.0),
    "chroma": (1e-3, 0.0, 1.0),
    "qwen-image": (1e-3, 0.0, 1.0),
    "z-image": (-1e-3, 1.0, -1.0),
    "lumina-2": (-1e-3, 1.0, -1.0),
    "aura-flow": (1e-3, 0.0, 1.0),
}
LOUD = 1e-2  # learning rate of a few steps on random weights


@pytest.fixture(scope="module")
def base(family: str, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return trained.base(family, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def recorder(family: str, base: LoadedModel) -> Recorder | BadRequest:
    try:
        return Recorder(base)
    except BadRequest as refusal:
        return refusal


def test_a_base_is_recorded_or_refused_with_a_sentence(family: str, recorder: Recorder | BadRequest) -> None:
    if family in REFUSED:
        assert isinstance(recorder, BadRequest) and recorder.code == "base_not_trainable"
        assert REFUSED[family] in recorder.message
        return
    assert isinstance(recorder, Recorder), recorder
    how = recorder.convention
    assert (how.slope, how.offset, how.sign) == LINES.get(family, (how.slope, how.offset, how.sign))
    assert "forward" not in vars(recorder.denoiser), "the denoiser is as it was"


def _recorded(base: LoadedModel, recorder: Recorder | BadRequest) -> tuple[Recorder, list[Recorded]]:
    if isinstance(recorder, BadRequest):
        pytest.skip("it is refused")
    return recorder, [recorder.record(text, base.profile.width, base.profile.height) for text in TEXTS]


def test_noise_and_targets_are_those_of_diffusers(base: LoadedModel, recorder: Recorder | BadRequest) -> None:
    found, calls = _recorded(base, recorder)
    scheduler = base.pipeline.scheduler
    objective = Objective(found, scheduler)
    clean, noise = (torch.randn(calls[0].sample.shape, generator=torch.Generator().manual_seed(n)) for n in (1, 2))
    if flows(scheduler):
        level = 0.37
        theirs: Any = FlowMatchEulerDiscreteScheduler()
        theirs.set_timesteps(sigmas=[level])
        example = objective.flowed(clean, noise, level, calls[0])
        assert torch.allclose(example.noisy, theirs.scale_noise(clean, theirs.timesteps[:1], noise), atol=1e-6)
        assert torch.equal(example.target, noise - clean)
        assert example.time == pytest.approx(float(theirs.timesteps[0]))
        return
    # CogVideoX's levels are others
    theirs = scheduler if "CogVideoX" in type(scheduler).__name__ else DDPMScheduler.from_config(scheduler.config)
    time = torch.tensor([371])
    example = objective.diffused(clean, noise, 371, calls[0])
    assert torch.allclose(example.noisy, theirs.add_noise(clean, noise, time), atol=1e-6)
    velocity = scheduler.config.prediction_type == "v_prediction"
    target = theirs.get_velocity(clean, noise, time) if velocity else noise
    assert torch.allclose(example.target, target, atol=1e-6)


def test_hazard_19_the_shift_is_of_the_size_that_is_trained(base: LoadedModel, recorder: Recorder | BadRequest) -> None:
    found, calls = _recorded(base, recorder)
    if not base.pipeline.scheduler.config.get("use_dynamic_shifting"):
        assert shift_of(base.pipeline.scheduler, calls[0].mu) == shift_of(base.pipeline.scheduler, None)
        return
    width, height = base.profile.width, base.profile.height
    sizes = [found.record("a", width * times, height * times).mu for times in (1, 2)]
    assert sizes[0] is not None and sizes[1] is not None and sizes[0] < sizes[1], "more noise for a larger picture"


def test_hazard_23_the_loss_of_several_is_the_mean_of_each_alone(
    base: LoadedModel, recorder: Recorder | BadRequest
) -> None:
    found, calls = _recorded(base, recorder)
    objective = Objective(found, base.pipeline.scheduler)
    examples = [
        objective.example(torch.randn(call.sample.shape, generator=torch.Generator().manual_seed(n)), call, 5, n)
        for n, call in enumerate(calls)
    ]
    with torch.no_grad():
        together = objective.loss(examples)
        alone = torch.stack([objective.loss([example]) for example in examples]).mean()
    assert float(together) == pytest.approx(float(alone), rel=1e-5)


def test_learning_lowers_a_held_out_loss(base: LoadedModel, recorder: Recorder | BadRequest) -> None:
    found, calls = _recorded(base, recorder)
    objective = Objective(found, base.pipeline.scheduler)
    clean = torch.randn(calls[0].sample.shape, generator=torch.Generator().manual_seed(1))
    adapter = begin(base.components, planned("lora", rank=4), seed=1)
    optimizer = torch.optim.AdamW(adapter.factors.values(), lr=LOUD)

    def held_out() -> float:
        with torch.no_grad():
            return float(objective.loss([objective.example(clean, calls[0], "held out", n) for n in range(8)]))

    with adapter.applied({found.part: found.denoiser}, checkpointing=False):
        before = held_out()
        for step in range(8):
            optimizer.zero_grad()
            objective.loss([objective.example(clean, calls[0], "shown", step, n) for n in range(2)]).backward()
            optimizer.step()
        after = held_out()
    assert after < before


def test_hazard_31_a_sample_is_the_picture_that_the_service_draws(family: str, served: Served, tmp_path: Path) -> None:
    if family != IN_THE_GATE[0]:
        pytest.skip("one family shows it")
    profile, sample = served.base.profile.model_copy(update={"steps": 2}), Sample(prompt="a red apple", seed=3)
    base = LoadedModel(served.base.pipeline, served.base.components, profile, served.folder)
    pictures = [trained.picture(1, (profile.width, profile.height))]
    one = trained.training(tmp_path, on=base, pictures=pictures, steps=1)
    data = one.run(lambda _: None).data
    drawn = np.asarray(Samples(base).draw(data, sample)).astype(int)
    entry = served.upload("trained", load(data))
    asked = {"steps": profile.steps, "guidance_scale": profile.guidance_scale, "adapters": [entry]}
    asked |= {"prompt": sample.prompt, "seed": sample.seed, "width": profile.width, "height": profile.height}
    assert np.array_equal(served.drawn(**asked), drawn)
    assert not np.array_equal(served.drawn(**asked | {"adapters": []}), drawn)


def test_a_recording_leaves_the_pipeline_as_it_was(base: LoadedModel, recorder: Recorder | BadRequest) -> None:
    scheduler = base.pipeline.scheduler
    _recorded(base, recorder)
    assert base.pipeline.scheduler is scheduler
    assert Path(base.folder).is_dir()
