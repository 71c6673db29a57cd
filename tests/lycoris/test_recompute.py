"""Recompute: as merged within rounding, for every algorithm and kind of layer, and nothing left behind."""

import sys
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lycoris import Code, ModelChanged, NeverCalled, Patcher, Recompute, StackEntry, StackRefused, load
from lycoris import recompute as recompute_file
from lycoris.hooked import computed as computed_file
from lycoris.hooked import hooks as hooks_file
from lycoris.kernels.stored import dense, storage
from tests.lycoris import zoo
from tests.lycoris.kernels.test_stored import quantise
from tests.lycoris.measure import assert_close, bits, bits_of
from tests.lycoris.placement.test_views import LINEAR1, MLP, ROWS, flux
from tests.lycoris.stopping import Stop, StopAtLine
from tests.lycoris.test_bypass import CONVOLUTIONS, Reader, entry, given, model_of, stack_on

FILES = (recompute_file.__file__, computed_file.__file__, hooks_file.__file__)
MODES: tuple[Any, ...] = ("sum", "sequential")


def input_of(layer: Any, dtype: torch.dtype) -> Tensor:
    if isinstance(layer, nn.Embedding):
        return torch.arange(layer.num_embeddings)
    if isinstance(layer, nn.LayerNorm | nn.GroupNorm):
        return zoo.random(9)(3, 8).to(dtype)
    return given(layer, dtype)


def left(model: nn.Module) -> int:
    """How many hooks and forwards there are that a module does not have by itself."""
    hooks = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())
    return hooks + sum("forward" in vars(module) for module in model.modules())


def both_ways(layer: Any, stack: list[StackEntry], x: Tensor, mode: Any = "sum") -> tuple[Tensor, Tensor]:
    """Return a layer's output for a stack recomputed and merged; the layer is left as it was."""
    model = model_of(layer)
    with torch.no_grad():
        before, plain = bits_of(model), bits(layer(x))
        one = Recompute({"unet": model})
        one.swap(stack, mode=mode)
        made = layer(x)
        assert bits_of(model) == before, "a weight was written"
        one.restore()
        assert not left(model) and bits(layer(x)) == plain
        twin = Patcher({"unet": model})
        twin.swap(stack, mode=mode)
        merged = layer(x)
        twin.restore()
    return made, merged


@pytest.mark.parametrize("dtype", zoo.DTYPES, ids=str)
@pytest.mark.parametrize(("algorithm", "kind"), zoo.PAIRS)
def test_every_algorithm_on_every_layer_is_as_merged(algorithm: str, kind: str, dtype: torch.dtype) -> None:
    layer: Any = zoo.layer(kind, dtype)
    x = input_of(layer, dtype)
    plain = layer(x)
    for strength in (1.0, -0.7):
        made, merged = both_ways(layer, [entry(algorithm, layer, strength)], x)
        assert_close(made, merged, f"{algorithm} at {strength} on {kind}")
        assert bits(made) != bits(plain)


@pytest.mark.parametrize("algorithm", ["lora", "loha", "oft", "dora-lora-output", "glora", "ia3-input"])
@pytest.mark.parametrize("kind", [*CONVOLUTIONS, "circular"])
def test_a_convolution_keeps_all_that_it_is_beside_its_weight(kind: str, algorithm: str) -> None:
    circular = nn.Conv2d(4, 8, 3, padding=1, padding_mode="circular")
    layer = (CONVOLUTIONS | {"circular": circular})[kind].requires_grad_(False)
    made, merged = both_ways(layer, [entry(algorithm, layer)], given(layer))
    assert_close(made, merged, f"{algorithm} on {kind}")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["linear", "conv3x3", "grouped"])
def test_stacks_are_sums_or_sequences_as_merged(kind: str, mode: str) -> None:
    layer = zoo.layer(kind)
    names = ("lora-with-bias", "dora-lora-output", "ia3-input", "oft", "peft-glora-with-weight", "overwrite", "loha")
    stack = [entry(name, layer, 0.4 + seed / 4, seed) for seed, name in enumerate(names)]
    made, merged = both_ways(layer, stack, given(layer), mode)
    assert_close(made, merged, f"seven on {kind}, {mode}")
    again, _ = both_ways(layer, stack[::-1], given(layer), mode)
    assert (bits(made) == bits(again)) == (mode == "sum"), "the order of a sequence counts, and of a sum it does not"


@pytest.mark.parametrize("algorithm", [name for name, (_, kinds) in zoo.ALGORITHMS.items() if "linear" in kinds])
def test_a_layer_that_the_model_has_cut_in_pieces(algorithm: str) -> None:
    model, paths = flux(torch.float32), [*ROWS, MLP]
    below = torch.cat([model.get_parameter(f"{path}.weight") for path in paths])
    stack = [StackEntry(load(zoo.file({LINEAR1: zoo.tensors(algorithm, below)})), 0.8)]
    x = zoo.random(3)(2, 5, 12)
    Recompute({"transformer": model}).swap(stack)
    Patcher({"transformer": (twin := flux(torch.float32))}).swap(stack)
    for path in paths:
        with torch.no_grad():
            assert_close(model.get_submodule(path)(x), twin.get_submodule(path)(x), f"{algorithm} on {path}")


def test_tied_layers_are_changed_together_as_merged() -> None:
    model, x = nn.ModuleDict({"layer": zoo.layer("square"), "other": nn.Linear(8, 8)}), zoo.random(2)(3, 8)
    model["other"].register_parameter("weight", model["layer"].get_parameter("weight"))
    stack = [entry("loha", model["layer"])]
    for name in model:
        made, merged = (_under(kind({"unet": model}), stack, model[name], x) for kind in (Recompute, Patcher))
        assert_close(made, merged, f"tied, {name}")
        assert bits(made) != bits(model[name](x))


class Bare(nn.Module):
    """A block with a table of its own beside its layers, as in many transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(zoo.random(1)(6, 8), requires_grad=False)
        self.layer = zoo.layer("square")

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.table[0]


def test_a_parameter_that_belongs_to_no_layer_is_changed_too() -> None:
    model, x = Bare(), zoo.random(2)(3, 8)
    stack = [StackEntry(load(zoo.file({"unet.table": {"diff": zoo.random(4)(6, 8)}})))]
    made, merged = (_under(kind({"unet": model}), stack, model, x) for kind in (Recompute, Patcher))
    assert bits(made) == bits(merged) != bits(model(x))


def _under(one: Recompute | Patcher, stack: list[StackEntry], model: nn.Module, x: Tensor) -> Tensor:
    one.swap(stack)
    made = model(x)
    one.restore()
    return made


def test_strengths_by_block_and_swaps_leave_nothing_of_an_earlier_stack() -> None:
    model, x = nn.ModuleDict({"one": zoo.layer("square"), "two": zoo.layer("square", seed=3)}), zoo.random(2)(3, 8)
    tensors = {f"unet.{name}": zoo.tensors("loha", model[name].get_parameter("weight")) for name in model}
    adapter = load(zoo.file(tensors))
    stack = [StackEntry(adapter, 0.5, blocks={"two": -1.0})]
    one, twin = Recompute({"unet": model}), Patcher({"unet": model})
    made, merged = (_under(each, stack, model["two"], x) for each in (one, twin))  # type: ignore[arg-type]
    assert_close(made, merged, "by block")
    one.swap([StackEntry(adapter, 2.0)])
    one.swap(stack)
    assert bits(model["two"](x)) == bits(made) and one.active == tuple(stack)
    visits: list[int] = []
    one.swap(stack, check=lambda: visits.append(1))
    assert not visits, "the same stack again costs nothing"
    one.swap([StackEntry(adapter, 0.5, blocks={"two": 0.0})])
    assert "forward" not in vars(model["two"]), "at strength 0 nothing is applied"
    one.restore()
    assert not left(model)


def test_gradients_reach_the_factors() -> None:
    layer = zoo.layer("linear").requires_grad_(False)
    adapter = load(zoo.file({"unet.layer": zoo.tensors("dora-lora-output", layer.weight)}))  # type: ignore[arg-type]
    change = adapter.layers[0].changes["weight"]
    factors = [factor.requires_grad_() for name, factor in change.tensors().items() if name != "alpha"]
    Recompute({"unet": model_of(layer)}).swap([StackEntry(adapter)])
    layer(given(layer)).sum().backward()
    assert all(factor.grad is not None and factor.grad.abs().sum() > 0 for factor in factors)


# Quantised weights


@pytest.mark.parametrize("dtype", zoo.DTYPES, ids=str)
@pytest.mark.parametrize(
    ("algorithm", "kind"), [(name, kind) for name, kind in zoo.PAIRS if kind in zoo.MATRICES and kind != "conv1x1"]
)
def test_quantised_weights_are_changed_as_the_numbers_that_they_stand_for(
    algorithm: str, kind: str, dtype: torch.dtype
) -> None:
    layer: Any = quantise(zoo.layer(kind))
    model, twin, x = model_of(layer), zoo.layer(kind), given(zoo.layer(kind))
    twin.get_parameter("weight").data.copy_(dense(layer.weight))
    stack = [entry(algorithm, twin, 0.6)]
    one = Recompute({"unet": model})
    with torch.inference_mode():  # as pipelines run
        plain, stored = bits(layer(x)), [bits(part) for part in storage(layer.weight)]
        Patcher({"unet": model_of(twin)}).swap(stack)
        one.swap(stack)
        made = layer(x.to(dtype))
        assert made.dtype == dtype
        assert_close(made, twin.to(dtype)(x.to(dtype)), f"{algorithm} on eight bits of {kind}")
        one.restore()
        assert bits(layer(x)) == plain and [bits(part) for part in storage(layer.weight)] == stored
        assert not one.verify()
    assert not left(model)


def test_a_bit_of_a_quantised_weight_that_changes_is_noticed() -> None:
    layer: Any = quantise(zoo.layer("linear"))
    one = Recompute({"unet": model_of(layer)})
    assert one.verify() == []
    for part in storage(layer.weight):
        flat = part.view(-1).view(torch.uint8)
        flat[3] ^= 1
        assert one.verify() == ["unet.layer.weight"]
        flat[3] ^= 1
        assert one.verify() == []


# What is refused


def test_weights_that_are_read_past_their_layer_can_only_be_merged() -> None:
    attention = nn.MultiheadAttention(8, 2)
    stack = [StackEntry(load(zoo.file({"unet.layer.out_proj": zoo.tensors("lora", attention.out_proj.weight)})))]
    one = Recompute({"unet": model_of(attention)})
    (reason,) = one.obstacles(stack)
    assert "around it" in reason.message
    with pytest.raises(StackRefused, match="around it"):
        one.swap(stack)
    model, x = Reader(), zoo.random(9)(2, 8)
    one = Recompute({"unet": model})
    one.swap(stack_on(model, "layer", "read"))
    with pytest.raises(NeverCalled, match=r"unet\.read"):
        model(x)
    model.layer(x)
    with pytest.raises(NeverCalled, match=r"unet\.read"):
        one.check_called()
    one.restore()
    assert not left(model)


def test_a_forward_that_others_have_replaced_is_not_touched() -> None:
    layer = zoo.layer("linear")
    model, theirs = model_of(layer), lambda x: x
    one = Recompute({"unet": model})
    layer.forward = theirs
    with pytest.raises(ModelChanged, match="something else"):
        one.swap([entry("lora", layer)])
    (reason,) = Recompute({"unet": model}).obstacles([entry("lora", layer)])[:1]
    assert "something else" in reason.message and layer.forward is theirs


def test_one_weight_is_not_changed_twice_and_no_mode_is_invented() -> None:
    layer = nn.Linear(12, 8)
    model = nn.ModuleDict({"one": layer, "other": layer})
    tensors = zoo.tensors("lora", layer.weight)
    one = Recompute({"unet": model})
    with pytest.raises(StackRefused, match="under both names"):
        one.swap([StackEntry(load(zoo.file({"lora_unet_one": tensors, "lora_unet_other": tensors})))])
    with pytest.raises(ValueError, match="sequential"):
        one.swap([], mode="product")  # type: ignore[arg-type]
    assert not left(model)


def test_what_this_precision_cannot_hold_is_refused_when_it_is_computed() -> None:
    model = model_of(layer := zoo.layer("linear", torch.float16))
    tensors = zoo.tensors("lora", layer.get_parameter("weight"))
    tensors["lora_up.weight"] *= 1e6
    Recompute({"unet": model}).swap([StackEntry(load(zoo.file({"unet.layer": tensors})))])
    with pytest.raises(StackRefused, match=r"unet\.layer\.weight") as caught:
        layer(given(layer, torch.float16))
    assert {reason.code for reason in caught.value.reasons} == {Code.NOT_FINITE}


# Nothing left behind


@pytest.mark.slow
def test_stopped_at_any_line_no_forward_is_left_and_a_stack_can_be_applied() -> None:
    model = model_of(layer := zoo.layer("linear"))
    one, x = Recompute({"unet": model}), given(layer)
    stack = [entry("loha", layer), entry("lora-with-bias", layer, seed=2)]
    with torch.no_grad():
        plain = bits(layer(x))
        one.swap(stack)
        applied = bits(layer(x))
        one.swap(earlier := [entry("oft", layer, seed=3)])
        other = bits(layer(x))
        before = sys.gettrace()
        for line in count():
            one.swap(earlier)
            try:
                sys.settrace(StopAtLine(FILES, line))
                one.swap(stack)
                layer(x)
                break  # it has no more lines
            except Stop:
                sys.settrace(before)
                active = one.active != ()
                assert bool(left(model)) == active, f"stopped at line {line} of those that run"
                wanted = (applied if one.active == tuple(stack) else other) if active else plain
                assert bits(layer(x)) == wanted, f"stopped at line {line} of those that run"
            finally:
                sys.settrace(before)
            one.swap(stack)
            assert bits(layer(x)) == applied
            one.restore()
            assert not left(model)
    assert line > 50
