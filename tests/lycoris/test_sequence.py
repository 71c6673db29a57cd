"""The sequential mode, only on request: each adapter on the result of the ones before it, as in ComfyUI."""

import pytest
import torch

from lycoris import Patcher, load
from lycoris.patcher import StackEntry
from tests.lycoris import zoo
from tests.lycoris.closed_forms import expected_weight
from tests.lycoris.measure import assert_close, bits_of

LAYER = "layers.linear.weight"


def entry(algorithm: str, seed: int, strength: float = 1.0) -> tuple[StackEntry, zoo.Tensors]:
    tensors = zoo.tensors(algorithm, zoo.Model().get_parameter(LAYER), seed)
    return StackEntry(load(zoo.file({"unet.layers.linear": tensors})), strength), tensors


def test_each_is_applied_to_the_result_of_the_ones_before_it() -> None:
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        made = [entry("dora-lora-output", 1, 0.5), entry("loha", 2, 0.8), entry("dora-lokr-input", 3)]
        model = zoo.Model(torch.float64)
        wanted = model.get_parameter(LAYER).detach().clone()
        for k in order:
            wanted = expected_weight(made[k][1], wanted, made[k][0].strength)
        patcher = Patcher({"unet": model})
        patcher.swap([made[k][0] for k in order], mode="sequential")
        assert_close(model.get_parameter(LAYER).detach(), wanted, f"in sequence {order}", torch.float32)


def test_the_order_counts_in_sequence_and_only_there() -> None:
    stack = [entry("dora-lora-output", 1)[0], entry("dora-lora-output", 2)[0]]
    seen = {mode: set() for mode in ("sum", "sequential")}
    patcher = Patcher({"unet": (model := zoo.Model())})
    pristine = bits_of(model)
    for order in (stack, stack[::-1]):
        patcher.swap(order)
        seen["sum"].add(tuple(bits_of(model).values()))
        patcher.swap(order, mode="sequential")  # the same adapters in another mode are another stack
        seen["sequential"].add(tuple(bits_of(model).values()))
    assert {mode: len(found) for mode, found in seen.items()} == {"sum": 1, "sequential": 2}
    assert not seen["sum"] & seen["sequential"]
    patcher.restore()
    assert bits_of(model) == pristine


@pytest.mark.parametrize("algorithms", [["dora-lokr-output"], ["lora", "loha", "full"]])
def test_one_adapter_and_additive_ones_are_the_same_in_both(algorithms: list[str]) -> None:
    stack = [entry(algorithm, seed, 0.6)[0] for seed, algorithm in enumerate(algorithms)]
    summed, sequential = zoo.Model(), zoo.Model()
    Patcher({"unet": summed}).swap(stack)
    Patcher({"unet": sequential}).swap(stack, mode="sequential")
    assert_close(sequential.get_parameter(LAYER).detach(), summed.get_parameter(LAYER).detach(), "both ways")


def test_the_same_stack_in_the_same_order_again_costs_nothing() -> None:
    stack = [entry("dora-lora-output", 1)[0], entry("loha", 2)[0]]
    patcher, visits = Patcher({"unet": zoo.Model()}), []
    for order, cost in ((stack, 1), (stack, 0), (stack[::-1], 1), (stack[:1], 1)):
        visits.clear()
        patcher.swap(order, check=lambda: visits.append(1), mode="sequential")
        assert len(visits) == cost
    visits.clear()
    patcher.swap(stack[:1], check=lambda: visits.append(1))
    assert not visits, "one adapter is the same stack in either mode"


def test_a_mode_that_is_none_changes_nothing() -> None:
    patcher = Patcher({"unet": (model := zoo.Model())})
    patcher.swap([entry("lora", 1)[0]])
    before = bits_of(model)
    with pytest.raises(ValueError, match="sequential"):
        patcher.swap([], mode="backwards")  # type: ignore[arg-type]
    assert bits_of(model) == before
    assert patcher.active
