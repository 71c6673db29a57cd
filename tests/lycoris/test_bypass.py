"""Bypass: equal to the merged twin within rounding, exactly the stack that was given, and no hook left behind."""

import sys
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lycoris import Bypass, Code, NeverCalled, Patcher, StackRefused, load
from lycoris import bypass as bypass_file
from lycoris.hooked import hooks as hooks_file
from lycoris.hooked.forward import ADDENDS, SCALES
from lycoris.patcher import StackEntry
from tests.lycoris import zoo
from tests.lycoris.measure import assert_close, bits, bits_of
from tests.lycoris.placement.test_views import LINEAR1, MLP, ROWS, flux
from tests.lycoris.stopping import Stop, StopAtLine

FILES = (bypass_file.__file__, hooks_file.__file__)
WITH_FORM = [
    *("lora", "lora-scaled", "lora-without-alpha", "lora-with-bias", "lora-peft-bias", "lora-tucker"),
    *("lokr-whole", "lokr-low", "lokr-both", "lokr-tucker", "peft-lokr"),
    *("ia3-output", "ia3-input", "peft-ia3-output", "peft-ia3-input", "peft-ia3-feedforward"),
]
PAIRS = [(algorithm, kind) for algorithm, kind in zoo.PAIRS if algorithm in WITH_FORM and kind not in zoo.TABLES]
CONVOLUTIONS: dict[str, nn.Module] = {
    "dilated": nn.Conv2d(4, 8, 3, padding=2, dilation=2),
    "oblong": nn.Conv2d(4, 8, (1, 3), stride=(2, 1), padding=(0, 1)),
    "same": nn.Conv2d(4, 8, 3, padding="same"),
    "all-at-once": nn.Conv2d(8, 12, 3, stride=2, padding=1, dilation=2, groups=2),
    "many-groups": nn.Conv2d(16, 8, 3, padding=1, groups=4),
    "one-axis": nn.Conv1d(4, 8, 3, padding=1),
    "three-axes": nn.Conv3d(4, 8, 3, padding=1),
}


def given(layer: Any, dtype: torch.dtype = torch.float32, seed: int = 9) -> Tensor:
    """Return something that a layer can be called with."""
    linear = isinstance(layer, nn.Linear)
    size = () if linear else (7,) * (layer.weight.ndim - 2)
    shape = (2, 5, layer.in_features) if linear else (2, layer.in_channels, *size)
    return zoo.random(seed)(*shape).to(dtype) * 3


def entry(algorithm: str, layer: nn.Module, strength: float = 1.0, seed: int = 1) -> StackEntry:
    tensors = zoo.tensors(algorithm, layer.get_parameter("weight"), seed)
    return StackEntry(load(zoo.file({"unet.layer": tensors})), strength)


def model_of(layer: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict({"layer": layer})


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def both_ways(layer: Any, stack: list[StackEntry], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return a layer's output for a stack by bypass and merged; the layer is left as it was."""
    model = model_of(layer)
    before = bits_of(model)
    with torch.no_grad():
        one = Bypass({"unet": model})
        one.swap(stack)
        assert bits_of(model) == before, "a weight was written"
        made = layer(x)
        one.restore()
        assert not hooks(model)
        twin = Patcher({"unet": model})
        twin.swap(stack)
        merged = layer(x)
        twin.restore()
    return made, merged


@pytest.mark.parametrize("dtype", zoo.DTYPES, ids=str)
@pytest.mark.parametrize(("algorithm", "kind"), PAIRS)
def test_every_form_is_as_its_merged_twin(algorithm: str, kind: str, dtype: torch.dtype) -> None:
    layer = zoo.layer(kind, dtype)
    x = given(layer, dtype)
    plain = layer(x).detach()
    for strength in (1.0, -0.7):
        made, merged = both_ways(layer, [entry(algorithm, layer, strength)], x)
        assert_close(made, merged, f"{algorithm} at {strength} on {kind}")
        assert bits(made) != bits(plain)


@pytest.mark.parametrize("algorithm", ["lora", "lora-tucker", "lokr-low", "lokr-tucker", "ia3-output", "ia3-input"])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_convolution_keeps_its_stride_padding_and_dilation(kind: str, algorithm: str) -> None:
    layer = CONVOLUTIONS[kind].requires_grad_(False)
    made, merged = both_ways(layer, [entry(algorithm, layer)], given(layer))
    assert_close(made, merged, f"{algorithm} on {kind}")


@pytest.mark.parametrize("kind", ["linear", "conv3x3", "grouped"])
def test_stacks_are_sums_in_any_order(kind: str) -> None:
    layer = zoo.layer(kind)
    names = ("lora-with-bias", "lokr-low", "ia3-input", "lora-peft-bias", "peft-ia3-input")
    stack = [entry(name, layer, 0.4 + seed / 4, seed) for seed, name in enumerate(names)]
    made, merged = both_ways(layer, stack, given(layer))
    assert_close(made, merged, f"five on {kind}")
    again, _ = both_ways(layer, stack[::-1], given(layer))
    assert bits(made) == bits(again)
    scaled = [entry(name, layer, 0.5, seed) for seed, name in enumerate(("lora", "peft-ia3-output", "ia3-output"))]
    assert_close(*both_ways(layer, scaled, given(layer)), f"scaled outputs on {kind}")


def test_strengths_change_a_scalar_and_no_factor() -> None:
    model = model_of(layer := zoo.layer("linear"))
    one, x = Bypass({"unet": model}), given(layer)
    stack = [entry("lora", layer, 0.5), entry("lokr-low", layer, 0.25, seed=2)]
    with torch.no_grad():
        one.swap(stack)
        first, factors = layer(x), {id(addend) for addend in one._addends.values()}
        one.swap([StackEntry(stack[0].adapter, -1.0), StackEntry(stack[1].adapter, 1.0)])
        assert {id(addend) for addend in one._addends.values()} == factors
        assert bits(layer(x)) != bits(first)
        one.swap(stack)
        assert bits(layer(x)) == bits(first), "an earlier stack shows"


def test_the_same_stack_again_costs_nothing() -> None:
    model = model_of(layer := zoo.layer("linear"))
    one, visits = Bypass({"unet": model}), []
    stack = [entry("lora", layer), entry("lokr-low", layer, seed=2)]
    for order, costs in ((stack, True), (stack[::-1], False), (stack[:1], True)):
        visits.clear()
        one.swap(order, check=lambda: visits.append(1))
        assert bool(visits) == costs
    assert one.active == (stack[0],)


@pytest.mark.parametrize("algorithm", ["lora", "lora-peft-bias", "ia3-output", "ia3-input", "lora-with-bias"])
def test_a_layer_that_the_model_has_cut_in_pieces(algorithm: str) -> None:
    model, paths = flux(torch.float32), [*ROWS, MLP]
    below = torch.cat([model.get_parameter(f"{path}.weight") for path in paths])
    stack = [StackEntry(load(zoo.file({LINEAR1: zoo.tensors(algorithm, below)})), 0.8)]
    x = zoo.random(3)(2, 5, 12)
    bypass, merged = Bypass({"transformer": model}), Patcher({"transformer": (twin := flux(torch.float32))})
    bypass.swap(stack)
    merged.swap(stack)
    for path in paths:
        with torch.no_grad():
            assert_close(model.get_submodule(path)(x), twin.get_submodule(path)(x), f"{algorithm} on {path}")


# What has no form


@pytest.mark.parametrize(
    ("algorithm", "kind"), [(name, kind) for name, kind in zoo.PAIRS if name not in WITH_FORM and kind != "conv1x1"]
)
def test_what_has_no_exact_form_is_refused_by_name(algorithm: str, kind: str) -> None:
    model = model_of(layer := zoo.layer(kind))
    one, stack = Bypass({"unet": model}), [entry(algorithm, layer)]
    assert {reason.subject for reason in one.obstacles(stack)} >= {"unet.layer.weight"}
    with pytest.raises(StackRefused, match=r"unet\.layer\.weight") as caught:
        one.swap(stack)
    assert {reason.code for reason in caught.value.reasons} == {Code.NO_FORM}
    assert not hooks(model)
    assert not one.obstacles([StackEntry(stack[0].adapter, 0.0)]), "at strength 0 nothing is applied"


def test_a_kronecker_product_cut_across_its_blocks_is_none() -> None:
    model, paths = flux(torch.float32), [*ROWS, MLP]
    below = torch.cat([model.get_parameter(f"{path}.weight") for path in paths])
    stack = [StackEntry(load(zoo.file({LINEAR1: zoo.tensors("lokr-low", below)})))]
    (reason,) = Bypass({"transformer": model}).obstacles(stack)
    assert reason.code is Code.NO_FORM and "LoKr" in reason.message


def test_a_kronecker_product_whose_factors_divide_a_kernel_is_none() -> None:
    model = nn.ModuleDict({"x": nn.Conv2d(16, 8, 3)})
    factors = {"lokr_w1": torch.ones(2, 48), "lokr_w2": torch.ones(4, 3)}
    (reason,) = Bypass({"unet": model}).obstacles([StackEntry(load(zoo.file({"lora_unet_x": factors})))])
    assert "divide a kernel" in str(reason)


def test_one_layer_under_two_names_is_not_changed_twice() -> None:
    layer = nn.Linear(12, 8)
    model = nn.ModuleDict({"one": layer, "other": layer})
    tensors = zoo.tensors("lora", layer.weight)
    adapter = load(zoo.file({"lora_unet_one": tensors, "lora_unet_other": tensors}))
    for one in (Bypass({"unet": model}), Patcher({"unet": model})):
        with pytest.raises(StackRefused, match="under both names"):
            one.swap([StackEntry(adapter)])
    assert not hooks(model)


def test_inputs_and_outputs_of_one_layer_are_not_scaled_together() -> None:
    layer = zoo.layer("linear")
    stack = [entry("ia3-input", layer), entry("peft-ia3-output", layer, seed=2)]
    (reason,) = Bypass({"unet": model_of(layer)}).obstacles(stack)
    assert "along its inputs" in reason.message


def test_weights_that_are_read_past_their_layer_can_only_be_merged() -> None:
    attention = nn.MultiheadAttention(8, 2)
    stack = [StackEntry(load(zoo.file({"unet.layer.out_proj": zoo.tensors("lora", attention.out_proj.weight)})))]
    (reason,) = Bypass({"unet": model_of(attention)}).obstacles(stack)
    assert "around it" in reason.message
    tied = nn.ModuleDict({"layer": zoo.layer("square"), "other": nn.Linear(8, 8)})
    tied["other"].register_parameter("weight", tied["layer"].get_parameter("weight"))
    (reason,) = Bypass({"unet": tied}).obstacles([entry("lora", tied["layer"])])
    assert "other layers" in reason.message
    circular = nn.Conv2d(4, 8, 3, padding=1, padding_mode="circular")
    (reason,) = Bypass({"unet": model_of(circular)}).obstacles([entry("lora", circular)])
    assert "circular" in reason.message


class Reader(nn.Module):
    """A model that calls one layer, and computes with the weight of another without calling it, as some attention."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.read = (nn.Linear(8, 8).requires_grad_(False) for _ in range(2))
        self.calls = True

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.layer(x) if self.calls else x, self.read.weight)


def stack_on(model: nn.Module, *layers: str) -> list[StackEntry]:
    tensors = {f"unet.{name}": zoo.tensors("lora", model.get_parameter(f"{name}.weight")) for name in layers}
    return [StackEntry(load(zoo.file(tensors)))]


def test_a_weight_that_is_read_past_its_layer_is_found_when_the_model_runs() -> None:
    model, x = Reader(), zoo.random(9)(2, 8)
    bypass = Bypass({"unet": model})
    plain = model(x)
    bypass.swap(stack_on(model, "layer", "read"))
    for _ in range(2):
        with pytest.raises(NeverCalled) as caught:
            model(x)
        assert [(reason.code, reason.subject) for reason in caught.value.reasons] == [(Code.NOT_CALLED, "unet.read")]
    bypass.swap(stack_on(model, "layer"))
    assert bits(model(x)) != bits(plain)
    bypass.restore()
    assert bits(model(x)) == bits(plain) and not hooks(model)


def test_a_layer_need_only_be_called_in_the_first_whole_forward_after_a_swap() -> None:
    model, x = Reader(), zoo.random(9)(2, 8)
    bypass = Bypass({"unet": model})
    bypass.swap(stack_on(model, "layer"))
    model(x)
    model.calls = False
    model(x)
    bypass.swap([StackEntry(bypass.active[0].adapter, 0.5)])
    with pytest.raises(NeverCalled, match=r"unet\.layer"):
        model(x)


def test_a_component_of_which_only_parts_are_called_is_judged_when_that_is_asked() -> None:
    model, x = Reader(), zoo.random(9)(2, 8)
    bypass = Bypass({"unet": model})
    bypass.swap(stack_on(model, "layer", "read"))
    bypass.check_called()  # nothing of it ran: whatever its weights are, they decide nothing
    model.layer(x)
    with pytest.raises(NeverCalled, match=r"unet\.read"):
        bypass.check_called()
    model.read(x)
    bypass.check_called()


def test_in_sequence_several_are_only_merged() -> None:
    model = model_of(layer := zoo.layer("linear"))
    one = Bypass({"unet": model})
    one.swap([entry("lora", layer)], mode="sequential")
    with pytest.raises(ValueError, match="merged"):
        one.swap([entry("lora", layer), entry("lora", layer, seed=2)], mode="sequential")
    assert one.active, "nothing was changed"


def test_what_this_precision_cannot_hold_is_refused() -> None:
    model = model_of(layer := zoo.layer("linear", torch.float16))
    tensors = zoo.tensors("lora", layer.get_parameter("weight"))
    tensors["lora_up.weight"] *= 1e6
    with pytest.raises(StackRefused) as caught:
        Bypass({"unet": model}).swap([StackEntry(load(zoo.file({"unet.layer": tensors})))])
    assert {reason.code for reason in caught.value.reasons} == {Code.NOT_FINITE}
    assert not hooks(model)


# Quantised weights


class Int8Linear(nn.Module):
    """A linear layer of integers and a scale per row, as in 8-bit libraries."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.scale = plain.weight.detach().abs().amax(1, keepdim=True) / 127
        packed = (plain.weight.detach() / self.scale).round().to(torch.int8)
        self.weight = nn.Parameter(packed.flatten(), requires_grad=False)  # as bitsandbytes packs: in no shape
        self.bias = nn.Parameter(plain.bias.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.view(self.out_features, -1) * self.scale
        return nn.functional.linear(x, weight.to(x.dtype), self.bias)


@pytest.mark.parametrize("algorithm", ["lora", "lokr-low", "ia3-input", "peft-ia3-output", "lora-with-bias"])
def test_quantised_weights_can_be_bypassed(algorithm: str) -> None:
    plain = zoo.layer("linear")
    assert isinstance(plain, nn.Linear)
    stack, x = [entry(algorithm, plain, 0.6)], given(plain)
    quantised = Int8Linear(plain)
    with torch.no_grad():
        plain.weight.copy_(quantised.weight.view_as(plain.weight) * quantised.scale)
    model = model_of(quantised)
    pristine = bits_of(model)
    Bypass({"unet": model}).swap(stack)
    merged = Patcher({"unet": model_of(plain)})
    merged.swap(stack)
    with torch.no_grad():
        assert_close(quantised(x), plain(x), f"{algorithm} on int8 weights")
    assert bits_of(model) == pristine


# Nothing left behind


@pytest.mark.slow
def test_stopped_at_any_line_no_hook_is_left_and_a_stack_can_be_applied() -> None:
    model = model_of(layer := zoo.layer("linear"))
    one, x = Bypass({"unet": model}), given(layer)
    stack = [entry("ia3-input", layer), entry("lora-with-bias", layer, seed=2)]
    with torch.no_grad():
        plain = layer(x)
        one.swap(stack)
        applied = layer(x)
        one.swap(earlier := [entry("lora", layer, seed=3)])
        other = layer(x)
        before = sys.gettrace()
        for line in count():
            one.swap(earlier)
            try:
                sys.settrace(StopAtLine(FILES, line))
                one.swap(stack)
                break  # it has no more lines
            except Stop:
                sys.settrace(before)
                active = one.active != ()  # stopped before anything was done, the earlier stack stays
                assert bool(hooks(model)) == active, f"stopped at line {line} of those that run"
                assert bits(layer(x)) == bits(other if active else plain)
            finally:
                sys.settrace(before)
            one.swap(stack)
            assert bits(layer(x)) == bits(applied)
            one.restore()
            assert not hooks(model)
    assert line > 50


def test_hooks_of_others_stay() -> None:
    model = model_of(layer := zoo.layer("linear"))
    called = []
    layer.register_forward_hook(lambda *_: called.append(1))
    one, other = Bypass({"unet": model}), Bypass({"unet": model})
    one.swap([entry("lora", layer)])
    other.swap([entry("lora", layer, seed=2)])
    one.restore()
    assert hooks(model) == 3, "the other's are two: of the layer, and of the model that should call it"
    layer(given(layer))
    assert called


def test_a_layer_that_fails_keeps_nothing_of_that_call() -> None:
    model = model_of(layer := zoo.layer("linear"))
    Bypass({"unet": model}).swap([entry("ia3-input", layer), entry("lora", layer, seed=2)])
    x = given(layer)
    with torch.no_grad():
        wanted = layer(x)
        with pytest.raises(RuntimeError):
            layer(x[..., :5])
        assert bits(layer(x)) == bits(wanted)


def test_every_form_is_tried_here() -> None:
    tried = {
        type(change)
        for algorithm, kind in PAIRS
        for each in entry(algorithm, zoo.layer(kind)).adapter.layers
        for change in each.changes.values()
    }
    assert {*ADDENDS, *SCALES} <= tried
