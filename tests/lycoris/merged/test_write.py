"""One pass in blocks: the same weights however they are cut, whatever is cached, and no memory that grows."""

import gc
import random
from collections.abc import Callable

import pytest
import torch

from lycoris import Adapter, Patcher, load, resolve
from lycoris.kernels import row_blocks
from lycoris.kernels.row_blocks import blocks
from lycoris.patcher import StackEntry
from tests.lycoris import zoo
from tests.lycoris.measure import assert_close, bits_of


@pytest.fixture(scope="module")
def adapters() -> list[Adapter]:
    return [load(data) for data in zoo.adapters(zoo.Model(), 12)]


def test_blocks_are_all_rows_once_and_keep_together_what_belongs_together() -> None:
    for shape, step in (((1280, 11520), 1), ((10240, 1280), 40), ((320,), 1), ((64, 2**19), 8), ((4, 2880), 4)):
        found = list(blocks(shape, step))
        assert [start for start, _ in found] == [0, *(stop for _, stop in found[:-1])]
        assert found[-1][1] == shape[0]
        assert all(start % step == 0 for start, _ in found)


@pytest.mark.parametrize("size", [1, 40, 150])
def test_however_it_is_cut_it_is_the_same_change(
    adapters: list[Adapter], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks = [[StackEntry(adapter, 0.8)] for adapter in adapters] + [[StackEntry(adapter, 0.2) for adapter in adapters]]
    for stack in stacks:
        whole, cut = zoo.Model(), zoo.Model()
        Patcher({"unet": whole}).swap(stack)
        with monkeypatch.context() as patch:
            patch.setattr(row_blocks, "BLOCK", size)
            Patcher({"unet": cut}).swap(stack)
        for (name, weight), other in zip(whole.named_parameters(), cut.parameters(), strict=True):
            assert_close(other.detach(), weight.detach(), f"{name} in blocks of {size}", weight.dtype)


@pytest.mark.parametrize("dtype", zoo.DTYPES, ids=str)
def test_one_adapter_alone_is_what_add_change_says(adapters: list[Adapter], dtype: torch.dtype) -> None:
    """An only change is added to the weight directly: the fast path's slow twin is `add_change`."""
    for adapter in adapters:
        model, pristine = zoo.Model(dtype), zoo.Model(dtype)
        Patcher({"unet": model}).swap([StackEntry(adapter, 0.6)])
        for target in resolve(adapter, {"unet": pristine}).targets:
            name, change = target.parameter, target.change
            weight = pristine.get_parameter(name).detach()
            added = torch.zeros(weight.shape)
            of_bias = pristine.get_parameter(name.replace("bias", "weight")).detach()
            change.with_weight(of_bias).add_change(added, weight, 0.6)
            assert_close(model.get_parameter(name).detach(), weight.double() + added, f"{change!r}", dtype)


def test_the_cache_decides_no_bit(adapters: list[Adapter]) -> None:
    keeping, forgetting = zoo.Model(), zoo.Model()
    patcher, twin = Patcher({"unet": keeping}), Patcher({"unet": forgetting}, ready_bytes=0)
    for strength in (0.5, -1.0, 0.25):
        for adapter in adapters:
            for each in (patcher, twin):
                each.swap(
                    [StackEntry(adapter, strength), StackEntry(adapters[0], 0.1)][: 1 if adapter is adapters[0] else 2]
                )
            assert bits_of(keeping) == bits_of(forgetting)
    assert twin.ready_bytes == 0 < patcher.ready_bytes


def test_another_strength_or_mode_is_another_patch_state(adapters: list[Adapter]) -> None:
    """A weight of the same patch state is not visited: states that differ in a bit must differ."""
    patcher = Patcher({"unet": (model := zoo.Model())})
    for strengths in ((1.0, 0.5), (0.5, 0.5), (0.5, 0.25), (-0.5, 0.25)):
        for mode in ("sum", "sequential"):
            stack = [StackEntry(adapter, strength) for adapter, strength in zip(adapters, strengths, strict=False)]
            patcher.swap(stack, mode=mode)
            Patcher({"unet": (fresh := zoo.Model())}).swap(stack, mode=mode)
            assert bits_of(model) == bits_of(fresh), f"{strengths}, {mode}"


def test_the_cache_stays_within_its_budget(adapters: list[Adapter]) -> None:
    unbound = Patcher({"unet": zoo.Model()})
    for adapter in adapters:
        unbound.swap([StackEntry(adapter)])
    budget = unbound.ready_bytes // 3
    patcher = Patcher({"unet": zoo.Model()}, ready_bytes=budget)
    for adapter in adapters:
        patcher.swap([StackEntry(adapter)])
        assert patcher.ready_bytes <= budget


def test_changes_are_prepared_again_for_a_model_that_was_moved(adapters: list[Adapter]) -> None:
    """The norms of a DoRA belong to the weight from which they were computed."""
    model = zoo.Model()
    patcher = Patcher({"unet": model})
    patcher.swap([StackEntry(adapter, 0.1) for adapter in adapters])
    patcher.restore()
    for weight in model.parameters():
        weight.data = weight.data * 2
    other = zoo.Model()
    other.load_state_dict(model.state_dict())
    patcher.swap([StackEntry(adapter, 0.1) for adapter in adapters])
    Patcher({"unet": other}).swap([StackEntry(adapter, 0.1) for adapter in adapters])
    assert bits_of(model) == bits_of(other)


@pytest.mark.slow
def test_hundreds_of_swaps_hold_nothing_and_leave_nothing() -> None:
    """The soak, shortened: 300 swaps over 30 adapters of every algorithm, each loaded again when it is wanted."""
    files = list(zoo.adapters(zoo.Model(), 30))
    model = zoo.Model()
    pristine = bits_of(model)
    patcher = Patcher({"unet": model}, ready_bytes=2048)
    source = random.Random(0)
    held: list[int] = []
    for swap in range(300):
        stack = [StackEntry(load(data), 0.4) for data in source.sample(files, source.randint(1, 3))]
        patcher.swap(stack)
        if swap % 50 == 49:
            assert patcher.verify() == []
            patcher.restore()
            assert bits_of(model) == pristine, f"after {swap + 1} swaps"
            del stack
            held.append(_tensor_bytes())
    assert held[-1] <= held[1], f"bytes of tensors held, every 50 swaps: {held}"


def _tensor_bytes() -> int:
    gc.collect()
    is_tensor: Callable[[object], bool] = lambda one: type(one) in (torch.Tensor, torch.nn.Parameter)  # noqa: E731
    return sum(one.nbytes for one in gc.get_objects() if is_tensor(one))  # type: ignore[attr-defined]
