"""Strength block by block: every kind of layer of a block obeys its factor, and a factor for nothing is refused."""

import pytest
from torch import nn

from lycoris import Adapter, Code, Patcher, StackRefused, blocks_of, load
from lycoris.patcher import StackEntry
from tests.lycoris import zoo
from tests.lycoris.measure import bits_of

NORM, MATRIX = "full", "dora-loha-output"  # a norm has no low rank; where the strength is bent, a factor shows


class UNet(nn.Module):
    """Blocks named as diffusers names them, every kind of layer in each."""

    def __init__(self) -> None:
        super().__init__()
        self.down_blocks = nn.ModuleList([zoo.Model().layers, zoo.Model().layers])
        self.mid_block = zoo.Model().layers
        self.up_blocks = nn.ModuleList([zoo.Model().layers for _ in range(11)])


BLOCKS = ["down_blocks.0", "down_blocks.1", "mid_block", *(f"up_blocks.{index}" for index in range(11))]


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    model = zoo.Model()
    tensors = {
        kind: zoo.tensors(NORM if kind in zoo.NORMS else MATRIX, module.get_parameter("weight"))
        for kind, module in model.layers.items()
    }
    return load(zoo.file({f"unet.{block}.{kind}": group for block in BLOCKS for kind, group in tensors.items()}))


def patched(*stack: StackEntry) -> UNet:
    model = UNet()
    Patcher({"unet": model}).swap(stack)
    return model


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ({"down": 0.5}, {"down_blocks.": 0.5}),
        ({"mid": 0.0}, {"mid_block.": 0.0}),
        ({"down_blocks.1": -1.0}, {"down_blocks.1.": -1.0}),
        ({"up.1": 0.3}, {"up_blocks.1.": 0.3}),  # and not up.10
        (
            {"up": 0.5, "up.1": 2.0, "up.1.linear": 0.25},
            {"up_blocks.": 0.5, "up_blocks.1.": 2.0, "up_blocks.1.linear.": 0.25},
        ),
        ({"up.1.linear": 0.25, "up.1": 2.0}, {"up_blocks.1.": 2.0, "up_blocks.1.linear.": 0.25}),
        ({"down": 0.5, "mid": 1.0, "up.1": 0.3}, {"down_blocks.": 0.5, "up_blocks.1.": 0.3}),
    ],
    ids=str,
)
def test_every_kind_of_layer_obeys_the_longest_block_that_fits(
    adapter: Adapter, blocks: dict[str, float], expected: dict[str, float]
) -> None:
    found = bits_of(patched(StackEntry(adapter, 0.8, blocks=blocks)))
    at = {factor: bits_of(patched(StackEntry(adapter, 0.8 * factor))) for factor in {1.0, *expected.values()}}
    for name, bits in found.items():
        fitting = [path for path in expected if name.removeprefix("0.").startswith(path)]
        factor = expected[max(fitting, key=len)] if fitting else 1.0
        assert bits == at[factor][name], f"{name} does not obey a factor of {factor}"


def test_factors_and_strengths_by_component_go_together(adapter: Adapter) -> None:
    both = patched(StackEntry(adapter, 9.0, {"unet": 0.5}, {"mid": 0.5}))
    plain, half = patched(StackEntry(adapter, 0.5)), patched(StackEntry(adapter, 0.25))
    assert bits_of(both.mid_block) == bits_of(half.mid_block)
    assert bits_of(both.up_blocks) == bits_of(plain.up_blocks)


def test_other_factors_are_another_stack(adapter: Adapter) -> None:
    patcher, visits = Patcher({"unet": UNet()}), []
    for blocks, again in (({"mid": 0.5}, False), ({"mid": 0.5}, True), ({"mid": 0.25}, False), ({}, False)):
        visits.clear()
        patcher.swap([StackEntry(adapter, blocks=blocks)], check=lambda: visits.append(1))
        assert bool(visits) != again, blocks
    one, other = (
        StackEntry(adapter, blocks={"mid": 0.5, "up": 1.0}),
        StackEntry(adapter, blocks={"up": 1.0, "mid": 0.5}),
    )
    assert one.key == other.key


@pytest.mark.parametrize(
    ("blocks", "word"),
    [
        ({"mid": float("nan")}, "finite"),
        ({"mid": float("inf")}, "finite"),
        ({"middle": 0.5}, "middle"),
        ({"up.11": 0.5}, "up.11"),
        ({"up.": 0.5}, "up."),
        ({"mid_bloc": 0.5}, "mid_bloc"),
        ({"": 0.5}, "changes nothing"),
        ({"mid": 0.5, "mid_block": 1.0}, "two names"),
    ],
    ids=str,
)
def test_a_factor_that_means_nothing_is_refused(adapter: Adapter, blocks: dict[str, float], word: str) -> None:
    model = UNet()
    pristine = bits_of(model)
    with pytest.raises(StackRefused, match=word) as caught:
        Patcher({"unet": model}).swap([StackEntry(adapter, blocks=blocks)])
    assert {reason.code for reason in caught.value.reasons} == {Code.BAD_STRENGTH}
    assert bits_of(model) == pristine


@pytest.mark.slow
def test_the_parts_of_a_model_by_the_names_of_the_field(adapter: Adapter) -> None:
    named = blocks_of(UNet())
    assert named[:6] == ["down", "down.0", "down.1", "mid", "up", "up.0"]
    for block in named:
        patched(StackEntry(adapter, blocks={block: 0.5}))
