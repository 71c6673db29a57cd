"""Beginnings: nothing is changed, the first step moves what it must, the second everything, and the seed decides."""

import pytest
import torch

from lycoris.algorithms.dora import DoRA
from lycoris.training.beginnings import BEGINNINGS
from lycoris.training.first_step import first_change
from lycoris.training.plan import plan
from lycoris.training.table import ALGORITHMS, TRAINABLE
from lycoris.training.trainable import begin
from tests.lycoris.measure import bits
from tests.lycoris.training.cases import CASES, NEARLY
from tests.lycoris.training.models import Denoiser, given, trained

STEPS = 40


def test_every_algorithm_of_the_table_has_a_beginning() -> None:
    assert set(BEGINNINGS) == set(TRAINABLE)


@pytest.mark.parametrize("name", CASES)
def test_hazard_15_nothing_changes_at_first_and_the_first_step_moves_what_is_not_multiplied_by_zero(name: str) -> None:
    model, x = Denoiser().requires_grad_(False), given()
    adapter = begin({"unet": model}, CASES[name].plan(), seed=3)
    with torch.no_grad(), adapter.applied({"unet": model}):
        begun = model(x)
    with torch.no_grad():
        plain = model(x)
    if name in NEARLY:
        torch.testing.assert_close(begun, plain, rtol=0, atol=1e-5)
    else:
        assert bits(begun) == bits(plain)
    values = [bits(factor) for factor in adapter.factors.values()]
    moved: list[set[str]] = []
    for _ in range(2):
        trained(model, adapter, 1, 1e-3)
        now = [bits(factor) for factor in adapter.factors.values()]
        moved.append({key for key, old, new in zip(adapter.factors, values, now, strict=True) if old != new})
        values = now
    first = {key for key in adapter.factors if any(key.endswith(f".{suffix}") for suffix in CASES[name].first)}
    assert moved == [first, set(adapter.factors)]


@pytest.mark.parametrize("name", ["lora", "loha-tucker", "lokr-both", "glora", "hra", "vera", "dora"])
def test_hazard_27_a_value_is_decided_by_the_seed_and_its_name_alone(name: str) -> None:
    model, again = Denoiser(), CASES[name].plan()
    whole = begin({"unet": model}, again, seed=5).factors
    torch.rand(100)
    part = begin({"unet": model}, CASES[name].plan(layers=["unet.up_blocks.*"]), seed=5).factors
    assert part and part.keys() < whole.keys()
    assert all(bits(part[key]) == bits(whole[key]) for key in part)
    other = begin({"unet": model}, again, seed=6)
    drawn = {key for key, factor in whole.items() if factor.unique().numel() > 1 and "dora_scale" not in key}
    assert all(bits(other.factors[key]) != bits(whole[key]) for key in drawn)
    assert drawn or name == "vera"
    if name == "vera":
        matrices = [each["vera_A"] for each in other.tensors.values()]
        assert all(matrix is matrices[0] for matrix in matrices)


@pytest.mark.parametrize("algorithm", TRAINABLE)
def test_hazard_14_one_learning_rate_is_not_one_learning_rate(algorithm: str) -> None:
    facts = ALGORITHMS[algorithm]
    measured = first_change(plan(algorithm, rank=16 if facts.rank else None), seed=1)
    print(f"{algorithm}: {measured:.4f} per unit of rate, the table has {facts.first_change}")
    assert measured == pytest.approx(facts.first_change, rel=0.2)
    if facts.over_rank:  # its first step moves a weight as far at every rank
        small = first_change(plan(algorithm, rank=2), seed=1) * facts.rate_at(2)
        assert small == pytest.approx(measured * facts.rate_at(None), rel=0.2)
    else:
        assert facts.rate_at(2) == facts.learning_rate
    model = Denoiser().requires_grad_(False)
    adapter = begin(
        {"unet": model}, plan(algorithm, rank=4 if facts.rank else None, layers=["unet.up_blocks.*"]), seed=3
    )
    losses = trained(model, adapter, STEPS, facts.learning_rate, checkpointing=False)
    assert losses[-1] < losses[0] and facts.why_rate


def test_hazard_16_factors_are_float32_whatever_the_base_is() -> None:
    model = Denoiser(torch.bfloat16).requires_grad_(False)
    for each in CASES.values():
        adapter = begin({"unet": model}, each.plan(), seed=1)
        assert {factor.dtype for factor in adapter.factors.values()} == {torch.float32}
    factor = begin({"unet": model}, plan("full", layers=["unet.*.ff"]), seed=1).factors["unet.up_blocks.0.ff.diff"]
    optimizer = torch.optim.SGD([factor], lr=1e-3)
    adapter_start = torch.ones_like(factor)
    with torch.no_grad():
        factor.copy_(adapter_start)
    for _ in range(100):
        factor.grad = -torch.ones_like(factor)
        optimizer.step()
    torch.testing.assert_close(factor.detach(), 1.1 * adapter_start, rtol=0, atol=1e-4)


def test_hazard_17_doras_magnitude_is_trained_on_a_half_precision_base() -> None:
    losses = {}
    for algorithm in ("dora", "locon"):
        model = Denoiser(torch.bfloat16).requires_grad_(False)
        adapter = begin({"unet": model}, plan(algorithm, rank=2), seed=3)
        before = {key: bits(factor) for key, factor in adapter.factors.items()}
        losses[algorithm] = trained(model, adapter, 1, 1e-3)
        magnitudes = [key for key in adapter.factors if key.endswith("dora_scale")]
        assert all(bits(adapter.factors[key]) != before[key] for key in magnitudes)
        losses[algorithm] += trained(model, adapter, 1, 1e-3)
    assert losses["dora"][0] == losses["locon"][0] and losses["dora"][1] != losses["locon"][1]
    changes = [layer.changes["weight"] for layer in begin({"unet": Denoiser()}, plan("dora"), 1).adapter.layers]
    assert all(isinstance(each, DoRA) and len(each.magnitude) == each.shape[0] for each in changes)
