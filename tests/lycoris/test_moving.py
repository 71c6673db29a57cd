"""Law 2 over moves between devices. A move here is what `Module.to` does, without a second device: new memory."""

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lycoris import Adapter, Patcher, load
from lycoris.errors import Code, ModelChanged
from lycoris.patcher import StackEntry
from tests.lycoris import zoo
from tests.lycoris.measure import bits_of

COUNT = 6


@pytest.fixture(scope="module")
def adapters() -> list[Adapter]:
    return [load(data) for data in zoo.adapters(zoo.Model(), COUNT)]


def move(model: nn.Module, change: Callable[[Tensor], Tensor] = torch.clone) -> None:
    model._apply(change)


@pytest.mark.parametrize("dtype", zoo.DTYPES, ids=str)
def test_after_any_moves_and_swaps_the_bits_are_pristine_and_stacks_what_they_are_on_a_fresh_model(
    adapters: list[Adapter], dtype: torch.dtype
) -> None:
    model, chance = zoo.Model(dtype), random.Random(1)
    pristine = bits_of(model)
    patcher = Patcher({"unet": model})
    for _ in range(30):
        stack = [StackEntry(one, chance.uniform(-1, 1)) for one in chance.sample(adapters, chance.randrange(3))]
        patcher.swap(stack)
        fresh = zoo.Model(dtype)
        Patcher({"unet": fresh}).swap(stack)
        assert bits_of(model) == bits_of(fresh)
        if chance.random() < 0.5:
            with patcher.moving():
                assert (patcher.active, bits_of(model)) == ((), pristine)
                move(model)
            assert patcher.touched_bytes == patcher.ready_bytes == 0, "memory of the device that was left is kept"
    patcher.restore()
    assert bits_of(model) == pristine
    assert patcher.verify() == []


@pytest.mark.parametrize("of", ["weight", "bias", "buffer"])
def test_a_move_that_changes_a_single_bit_is_noticed(of: str) -> None:
    model = nn.Linear(8, 8)
    model.register_buffer("buffer", torch.ones(3))
    patcher = Patcher({"unet": model})
    with pytest.raises(ModelChanged) as caught, patcher.moving():
        move(model)
        getattr(model, of).data.view(torch.int32).view(-1)[1] ^= 1
    assert [(reason.code, reason.subject) for reason in caught.value.reasons] == [(Code.MODEL_CHANGED, f"unet.{of}")]


def test_a_cast_is_no_move(adapters: list[Adapter]) -> None:
    model = zoo.Model()
    patcher = Patcher({"unet": model})
    with pytest.raises(ModelChanged), patcher.moving():
        move(model, lambda tensor: tensor.to(torch.bfloat16))


def test_a_move_that_fails_half_way_leaves_a_model_that_can_be_patched(adapters: list[Adapter]) -> None:
    model, left = zoo.Model(), iter(range(3))
    pristine = bits_of(model)
    patcher = Patcher({"unet": model})
    patcher.swap([StackEntry(adapters[0])])

    def short(tensor: Tensor) -> Tensor:
        if next(left, None) is None:
            raise torch.OutOfMemoryError("the card is full")
        return tensor.clone()

    with pytest.raises(torch.OutOfMemoryError), patcher.moving():
        move(model, short)
    assert bits_of(model) == pristine
    patcher.swap([StackEntry(adapters[1])])
    fresh = zoo.Model()
    Patcher({"unet": fresh}).swap([StackEntry(adapters[1])])
    assert bits_of(model) == bits_of(fresh)
