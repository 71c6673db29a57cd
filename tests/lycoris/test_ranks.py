"""The first ranks of a file are the file that was trained with so many, and are never taken for the whole."""

import pytest
import torch

from lycoris import Adapter, Bypass, Code, Patcher, StackRefused, first_ranks, load
from lycoris.patcher import StackEntry
from tests.lycoris import zoo
from tests.lycoris.measure import assert_close, bits_of

RANK = 6


def dylora(kind: str, rank: int = RANK) -> zoo.Tensors:
    """A LoRA's tensors whose ranks are those of any longer one, cut off: alpha stays what it was."""
    o, i, *kernel = zoo.layer(kind).get_parameter("weight").shape
    up, down = zoo.random(1)(o, RANK, *(1 for _ in kernel)), zoo.random(2)(RANK, i, *kernel)
    tensors = {"lora_up.weight": up[:, :rank].clone(), "lora_down.weight": down[:rank].clone()}
    return tensors | {"alpha": torch.tensor(3.0)}


def adapter(rank: int = RANK, **others: zoo.Tensors) -> Adapter:
    groups = {f"unet.layers.{kind}": dylora(kind, rank) for kind in zoo.MATRICES}
    return load(zoo.file(groups | {f"unet.layers.{kind}": group for kind, group in others.items()}))


@pytest.mark.parametrize("count", [1, 4, RANK, 99])
def test_the_first_ranks_are_the_file_of_that_rank(count: int) -> None:
    cut, written = zoo.Model(), zoo.Model()
    Patcher({"unet": cut}).swap([StackEntry(first_ranks(adapter(), count), 0.7)])
    Patcher({"unet": written}).swap([StackEntry(adapter(min(count, RANK)), 0.7)])
    assert bits_of(cut) == bits_of(written)


@pytest.mark.parametrize("kind", [Patcher, Bypass])
def test_from_ranks_to_ranks_and_back(kind: type[Patcher] | type[Bypass]) -> None:
    model, x = zoo.Model(), zoo.random(3)(2, 12)
    one, whole = kind({"unet": model}), adapter()

    def seen(adapter: Adapter) -> torch.Tensor:
        one.swap([StackEntry(adapter)])
        return model.layers["linear"](x).detach()

    every = {count: seen(first_ranks(whole, count)) for count in (1, 3, RANK)}
    assert_close(every[RANK], seen(whole), "all ranks")
    for count in (3, 1, 3):
        assert torch.equal(seen(first_ranks(whole, count)), every[count]), "the stack before leaves a trace"
    assert not torch.equal(every[1], every[3])


def test_layers_without_ranks_in_an_order_stay_whole() -> None:
    group = zoo.tensors("loha", zoo.layer("square").get_parameter("weight"))
    mixed, alone = adapter(square=group), load(zoo.file({"unet.layers.square": group}))
    model, whole = zoo.Model(), zoo.Model()
    Patcher({"unet": model}).swap([StackEntry(first_ranks(mixed, 2))])
    Patcher({"unet": whole}).swap([StackEntry(alone)])
    assert torch.equal(model.get_parameter("layers.square.weight"), whole.get_parameter("layers.square.weight"))


@pytest.mark.parametrize("algorithm", ["loha", "lokr-low", "lora-sparse", "dora-lora-output"])
def test_an_adapter_without_any_is_refused(algorithm: str) -> None:
    group = zoo.tensors(algorithm, zoo.layer("conv3x3").get_parameter("weight"))
    with pytest.raises(StackRefused, match="first 2 ranks") as caught:
        first_ranks(load(zoo.file({"unet.layers.conv3x3": group})), 2)
    assert {reason.code for reason in caught.value.reasons} == {Code.NO_FORM}
    with pytest.raises(StackRefused):
        first_ranks(adapter(), 0)
