"""What each field of a plan changes: the effect that it names, or a refusal."""

import gc
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from app.shared.errors import BadRequest
from lycoris import load
from tests.workers.training.test_run import nothing
from tests.workers.training.trained import picture, small_base, training
from workers.training.plan import FREE, Sample, TrainingPlan
from workers.training.samples import Samples

pytestmark = pytest.mark.slow

# Another value of every field of a plan that decides the adapter, and what has to be said beside it
OTHER: dict[str, tuple[Any, dict[str, Any]]] = {
    "algorithm": ("lora", {}),
    "rank": (2, {}),
    "alpha": (1.0, {"rank": 2}),
    "layers": (("unet.up_blocks.0*",), {}),
    "options": ({"factor": 4}, {}),
    "text_encoder": (True, {"layers": ()}),
    "steps": (1, {}),
    "batch_size": (1, {}),
    "gradient_accumulation_steps": (2, {}),
    "learning_rate": (1e-3, {}),
    "lr_scheduler": ("cosine", {}),
    "lr_warmup_steps": (2, {"steps": 3}),  # one step of it is none
    "weight_decay": (0.5, {}),
    "max_grad_norm": (1e-3, {}),
    "ema_decay": (0.9, {}),
    "seed": (8, {}),
    "snr_gamma": (0.5, {}),
    "shuffle_caption": (True, {}),
    "keep_tokens": (1, {"shuffle_caption": True}),
    "caption_dropout_rate": (0.9, {}),
    "output_dropout": (0.5, {}),
    "rank_dropout": (0.5, {"rank": 2}),
    "module_dropout": (0.5, {}),
    "mirror": (True, {}),
    "area": (32 * 32, {}),
}
ASKED_FOR_ELSEWHERE = {"weighting_scheme"}  # of flow matching alone: refused here
IN_THE_GATE = ("module_dropout",)  # each needs two trainings: the rest by --every


def test_hazard_34_every_field_of_a_plan_has_an_effect(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    decides = {one.name for one in fields(TrainingPlan)} - {*FREE, "gradient_checkpointing"} | {"steps"}
    assert decides == OTHER.keys() | ASKED_FOR_ELSEWHERE
    with pytest.raises(BadRequest, match="weighting_scheme"):
        training(tmp_path, weighting_scheme="mode")
    made: dict[str, bytes] = {}

    def tensors(**changed: Any) -> bytes:
        if (key := str(sorted(changed.items()))) not in made:
            asked: dict[str, Any] = {"steps": 2, **changed}
            data = training(tmp_path / str(len(made)), **asked).run(nothing).data
            made[key] = data[8 + int.from_bytes(data[:8], "little") :]
        return made[key]

    for name in OTHER if request.config.getoption("every") else IN_THE_GATE:
        value, beside = OTHER[name]
        assert tensors(**beside, **{name: value}) != tensors(**beside), name


def test_hazard_34_dropout_of_ranks_that_no_layer_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="take a lower rank"):
        training(tmp_path, rank_dropout=0.5, rank=64)


def test_hazard_1_captions_are_what_is_trained(tmp_path: Path) -> None:
    said = [f"blocks, of kind {number}" for number in range(3)]
    losses = []
    for captions in (said, said[::-1]):
        pictures = [picture(number, captions=(text,)) for number, text in enumerate(captions)]
        losses.append(training(tmp_path / captions[0], pictures=pictures, steps=1).run(nothing).loss)
    assert losses[0] != losses[1]


def test_hazard_18_the_average_is_what_is_kept_and_what_is_trained_does_not_know_it(tmp_path: Path) -> None:
    plain, averaged = (training(tmp_path / str(decay), ema_decay=decay, checkpoint_every=1) for decay in (None, 0.9))
    kept = [one.run(nothing).data for one in (plain, averaged)]
    own = plain.adapter.factors
    assert all(torch.equal(factor, own[name]) for name, factor in averaged.adapter.factors.items())
    assert kept[0] != kept[1] and load(kept[1]).metadata["radiata.average"] == "0.9"


def test_hazard_15_what_no_loss_reaches_is_an_error(tmp_path: Path) -> None:
    one = training(tmp_path)
    for factor in one.adapter.factors.values():
        factor.grad = torch.zeros_like(factor)
    with pytest.raises(BadRequest, match="nothing of unet has a gradient"):
        one._check_moved(nothing)


def test_hazard_30_samples_leave_no_tensor_behind(tmp_path: Path) -> None:
    data, samples = training(tmp_path, steps=1).run(nothing).data, Samples(small_base())

    def held() -> int:
        samples.draw(data, Sample(prompt="a", seed=1))
        gc.collect()
        return sum(type(one) in (torch.Tensor, torch.nn.Parameter) for one in gc.get_objects())

    samples.draw(data, Sample(prompt="a", seed=1))  # makes what is made once
    assert held() == held()


def test_min_snr_weighs_as_its_paper(tmp_path: Path) -> None:
    one = training(tmp_path, snr_gamma=5.0)
    call = one._recorder.record("a", 64, 64)
    for time in (10, 300, 900):
        signal = float(small_base().pipeline.scheduler.alphas_cumprod[time])
        snr = signal / (1 - signal)
        example = one._objective.diffused(call.sample, call.sample, time, call)
        assert example.weight == pytest.approx(min(snr, 5.0) / snr, rel=1e-5)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
