"""The laws of a swap: exactly this stack, in any order, after any other, and back to the pristine bits."""

import random
from collections import Counter
from itertools import pairwise

import pytest
import torch
from torch import nn

from lycoris import Adapter, AdapterError, Code, ModelChanged, NoPlace, Patcher, StackRefused, load, resolve
from lycoris.algorithms import OF_BIASES, OF_WEIGHTS, OVER_OTHERS
from lycoris.patcher import StackEntry
from tests.lycoris import zoo
from tests.lycoris.measure import assert_close, bits, bits_of

COUNT = 12


@pytest.fixture(scope="module")
def adapters() -> list[Adapter]:
    return [load(data) for data in zoo.adapters(zoo.Model(), COUNT)]


def stacks(adapters: list[Adapter], seed: int) -> list[list[StackEntry]]:
    source = random.Random(seed)
    return [
        [
            StackEntry(adapter, source.choice((0.0, 0.3, 1.0, -0.7)))
            for adapter in source.sample(adapters, source.randint(0, 4))
        ]
        for _ in range(15)
    ]


def test_the_zoo_has_every_algorithm_on_every_kind_of_layer(adapters: list[Adapter]) -> None:
    held = {type(change) for adapter in adapters for layer in adapter.layers for change in layer.changes.values()}
    assert {*OF_WEIGHTS, *OF_BIASES, OVER_OTHERS} <= held


@pytest.mark.parametrize("dtype", zoo.DTYPES, ids=str)
def test_any_swaps_then_restore_gives_back_the_bits(adapters: list[Adapter], dtype: torch.dtype) -> None:
    model = zoo.Model(dtype)
    pristine = bits_of(model)
    addresses = [parameter.data_ptr() for parameter in model.parameters()]
    patcher = Patcher({"unet": model})
    changed = 0
    for stack in stacks(adapters, seed=1):
        patcher.swap(stack)
        changed += bits_of(model) != pristine
        fresh = zoo.Model(dtype)
        Patcher({"unet": fresh}).swap(stack)
        assert bits_of(model) == bits_of(fresh), "an earlier stack shows"
    assert changed > 5
    patcher.restore()
    assert bits_of(model) == pristine
    assert [parameter.data_ptr() for parameter in model.parameters()] == addresses, "not written in place"
    assert patcher.touched_bytes <= sum(parameter.nbytes for parameter in model.parameters())


@pytest.mark.parametrize("dtype", zoo.DTYPES, ids=str)
def test_the_order_of_the_list_does_not_matter_to_the_last_bit(adapters: list[Adapter], dtype: torch.dtype) -> None:
    stack = [StackEntry(adapter, 0.1 * k) for k, adapter in enumerate(adapters, start=-3)]
    seen = set()
    for seed in range(4):
        model = zoo.Model(dtype)
        random.Random(seed).shuffle(stack)
        Patcher({"unet": model}).swap(stack)
        seen.add(tuple(bits_of(model).values()))
    assert len(seen) == 1


@pytest.mark.parametrize("dtype", zoo.DTYPES, ids=str)
def test_a_stack_is_summed_in_float32_and_rounded_once(adapters: list[Adapter], dtype: torch.dtype) -> None:
    model, patched = zoo.Model(dtype), zoo.Model(dtype)
    stack = [StackEntry(adapter, 0.25) for adapter in adapters]
    Patcher({"unet": patched}).swap(stack)
    sums = {name: torch.zeros(weight.shape) for name, weight in model.named_parameters()}
    changes = Counter[str]()
    for entry in sorted(stack, key=lambda entry: entry.adapter.sha256):
        for target in resolve(entry.adapter, {"unet": model}).targets:
            name, change = target.parameter, target.change
            change = change.with_weight(model.get_parameter(name.replace("bias", "weight")).detach())
            change.add_change(sums[name], model.get_parameter(name).detach(), entry.strength)
            changes[name] += 1
    for name, weight in model.named_parameters():
        found, wanted = patched.get_parameter(name).detach(), (weight.detach().float() + sums[name]).to(dtype)
        if changes[name] == 1:  # an only change is added to the weight directly, with one rounding less than by a sum
            assert_close(found, wanted.double(), name, dtype)
        else:
            assert bits(found) == bits(wanted), name
    assert any(count > 1 for count in changes.values())


def test_the_same_stack_again_costs_nothing(adapters: list[Adapter]) -> None:
    patcher = Patcher({"unet": zoo.Model()})
    visits: list[int] = []
    patcher.swap([StackEntry(adapters[0], 0.5), StackEntry(adapters[1])], check=lambda: visits.append(1))
    assert visits
    visits.clear()
    patcher.swap([StackEntry(adapters[1]), StackEntry(adapters[0], 0.5)], check=lambda: visits.append(1))
    assert not visits
    assert [entry.adapter for entry in patcher.active] == [adapters[0], adapters[1]]


def test_the_same_file_with_other_tensors_left_out_is_another_stack() -> None:
    model = zoo.Model()
    names = [f"lora_unet_layers_{kind}" for kind in list(model.layers)[:2]]
    weights = [model.get_parameter(f"layers.{kind}.weight") for kind in list(model.layers)[:2]]
    data = zoo.file({name: zoo.tensors("lora", weight) for name, weight in zip(names, weights, strict=True)})
    before = [bits(weight) for weight in weights]
    patcher = Patcher({"unet": model})
    patcher.swap([StackEntry(load(data))])
    patcher.swap([StackEntry(load(data, ignore=[f"{names[1]}.*"]))])
    assert bits(weights[0]) != before[0]
    assert bits(weights[1]) == before[1]


def test_only_weights_of_the_two_stacks_are_visited() -> None:
    model = zoo.Model()
    one, other = (
        load(zoo.file({f"lora_unet_layers_{kind}": zoo.tensors("lora", model.get_parameter(f"layers.{kind}.weight"))}))
        for kind in ("linear", "square")
    )
    versions = {name: weight._version for name, weight in model.named_parameters()}

    def written() -> set[str]:
        found = {name for name, weight in model.named_parameters() if weight._version != versions[name]}
        versions.update({name: weight._version for name, weight in model.named_parameters()})
        return found

    patcher = Patcher({"unet": model})
    patcher.swap([StackEntry(one)])
    assert written() == {"layers.linear.weight"}
    patcher.swap([StackEntry(one), StackEntry(other)])
    assert written() == {"layers.square.weight"}, "a weight with the same patches in both was visited"
    patcher.swap([StackEntry(other)])
    assert bits(model.get_parameter("layers.linear.weight")) == bits(zoo.Model().get_parameter("layers.linear.weight"))
    assert patcher.touched_bytes == sum(model.get_parameter(f"layers.{k}.weight").nbytes for k in ("linear", "square"))


def test_at_strength_0_nothing_is_touched(adapters: list[Adapter]) -> None:
    model = zoo.Model()
    with torch.no_grad():
        model.get_parameter("layers.linear.weight")[0, 0] = -0.0  # −0 + 0 is +0: a sum would show
    before = bits_of(model)
    patcher = Patcher({"unet": model})
    patcher.swap([StackEntry(adapter, 0.0) for adapter in adapters])
    assert bits_of(model) == before
    assert patcher.touched_bytes == 0


def test_a_result_that_overflows_is_refused_and_undone(adapters: list[Adapter]) -> None:
    model = zoo.Model(torch.float16)
    pristine = bits_of(model)
    patcher = Patcher({"unet": model})
    with pytest.raises(StackRefused) as caught:
        patcher.swap([StackEntry(adapters[0]), StackEntry(adapters[1], 1e9)])
    assert {reason.code for reason in caught.value.reasons} == {Code.NOT_FINITE}
    assert bits_of(model) == pristine


def text_encoder_too() -> tuple[dict[str, nn.Module], Adapter]:
    components: dict[str, nn.Module] = {"unet": zoo.Model(), "text_encoder": zoo.Model()}
    tensors = zoo.tensors("loha", components["unet"].get_parameter("layers.linear.weight"))
    return components, load(zoo.file({"lora_unet_layers_linear": tensors, "lora_te_layers_linear": tensors}))


def test_strengths_by_component() -> None:
    components, adapter = text_encoder_too()
    Patcher(components).swap([StackEntry(adapter, 0.8, {"text_encoder": 0.25})])
    for name, strength in (("unet", 0.8), ("text_encoder", 0.25)):
        one: dict[str, nn.Module] = {"unet": zoo.Model(), "text_encoder": zoo.Model()}
        Patcher(one).swap([StackEntry(adapter, strength)])
        assert bits_of(components[name]) == bits_of(one[name])


@pytest.mark.parametrize(
    ("strength", "strengths", "code"),
    [
        (float("nan"), {}, Code.BAD_STRENGTH),
        (float("inf"), {}, Code.BAD_STRENGTH),
        (1.0, {"text_encoder": float("nan")}, Code.BAD_STRENGTH),
        (1.0, {"vae": 0.5}, Code.BAD_STRENGTH),
        (1.0, {"text_encoder_2": 0.5}, Code.BAD_STRENGTH),
    ],
)
def test_strengths_that_mean_nothing_are_refused(strength: float, strengths: dict[str, float], code: Code) -> None:
    components, adapter = text_encoder_too()
    patcher = Patcher(components)
    with pytest.raises(StackRefused) as caught:
        patcher.swap([StackEntry(adapter, strength, strengths)])
    assert {reason.code for reason in caught.value.reasons} == {code}
    assert bits_of(*components.values()) == bits_of(zoo.Model(), zoo.Model())


def test_the_same_adapter_twice_is_refused_with_every_other_reason(adapters: list[Adapter]) -> None:
    patcher = Patcher({"unet": zoo.Model()})
    with pytest.raises(StackRefused) as caught:
        patcher.swap([StackEntry(adapters[0]), StackEntry(adapters[0], 0.5), StackEntry(adapters[1], float("inf"))])
    assert {reason.code for reason in caught.value.reasons} == {Code.REPEATED_ADAPTER, Code.BAD_STRENGTH}


def test_an_adapter_for_another_model_is_refused_and_the_model_is_pristine(adapters: list[Adapter]) -> None:
    model = nn.ModuleDict({"layers": nn.ModuleDict({"linear": zoo.layer("linear")})})
    weight = model.get_parameter("layers.linear.weight")
    pristine = bits_of(model)
    patcher = Patcher({"unet": model})
    patcher.swap([StackEntry(load(zoo.file({"lora_unet_layers_linear": zoo.tensors("lora", weight)})))])
    assert bits_of(model) != pristine
    with pytest.raises(NoPlace) as caught:
        patcher.swap([StackEntry(adapter) for adapter in adapters[:2]])
    assert len(caught.value.reasons) == 2 * (len(zoo.LAYERS) - 1)
    assert bits_of(model) == pristine


def test_a_model_that_was_moved_while_patched_is_noticed(adapters: list[Adapter]) -> None:
    model = zoo.Model()
    patcher = Patcher({"unet": model})
    patcher.swap([StackEntry(adapters[0])])
    patcher.restore()
    model.to(torch.bfloat16)
    patcher.swap([StackEntry(adapters[0])])  # moved while unpatched: no harm
    fresh = zoo.Model(torch.bfloat16)
    Patcher({"unet": fresh}).swap([StackEntry(adapters[0])])
    assert bits_of(model) == bits_of(fresh)
    model.to(torch.float32)
    with pytest.raises(ModelChanged):
        patcher.swap([])


def test_a_model_that_was_rebuilt_is_noticed(adapters: list[Adapter]) -> None:
    for rebuilt in (nn.ModuleDict(), nn.Linear(5, 5), nn.Linear(12, 8)):
        model = zoo.Model()
        patcher = Patcher({"unet": model})
        patcher.swap([StackEntry(adapters[0])])
        model.layers["linear"] = rebuilt
        with pytest.raises(ModelChanged):
            patcher.swap([StackEntry(adapters[1])])
    model = zoo.Model()
    patcher = Patcher({"unet": model})
    model.layers["linear"] = nn.Linear(5, 5)
    with pytest.raises(ModelChanged):
        patcher.swap([StackEntry(adapters[1])])


class Tied(nn.Module):
    """Two names, one weight: as a text encoder's embedding and its head."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = zoo.layer("square"), nn.Linear(8, 8)
        self.other.register_parameter("weight", self.one.get_parameter("weight"))


def test_tied_weights_are_one_weight() -> None:
    model = Tied()
    pristine = bits_of(model)
    weight = model.one.get_parameter("weight")
    tensors = {name: zoo.tensors("lora", weight, seed) for seed, name in enumerate(("one", "other"))}
    apart = [load(zoo.file({f"lora_unet_{name}": group})) for name, group in tensors.items()]
    together = load(zoo.file({f"lora_unet_{name}": group for name, group in tensors.items()}))
    patcher = Patcher({"unet": model})
    patcher.swap([StackEntry(adapter) for adapter in apart])
    assert patcher.touched_bytes == weight.nbytes
    with pytest.raises(AdapterError) as caught:
        patcher.swap([StackEntry(together)])
    assert {reason.code for reason in caught.value.reasons} == {Code.DUPLICATE}
    assert bits_of(model) == pristine


def test_ambient_modes_do_not_reach_the_sums(adapters: list[Adapter]) -> None:
    model, fresh = zoo.Model(), zoo.Model()
    Patcher({"unet": fresh}).swap([StackEntry(adapters[0])])
    patcher = Patcher({"unet": model})
    precision = torch.get_float32_matmul_precision()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        patcher.swap([StackEntry(adapters[0])])
    assert bits_of(model) == bits_of(fresh)
    assert torch.get_float32_matmul_precision() == precision
    patcher.swap([StackEntry(adapters[1])])
    patcher.restore()
    assert bits_of(model) == bits_of(zoo.Model())


@pytest.mark.parametrize("dtype", zoo.DTYPES, ids=str)
def test_a_swap_in_inference_mode_leaves_nothing_that_others_cannot_use(
    adapters: list[Adapter], dtype: torch.dtype
) -> None:
    stacks = [[StackEntry(one), StackEntry(other, 0.5)] for one, other in pairwise(adapters)]
    for first, then in pairwise(stacks):
        patcher, fresh = Patcher({"unet": (model := zoo.Model(dtype))}), Patcher({"unet": (twin := zoo.Model(dtype))})
        with torch.inference_mode():
            patcher.swap(first)
        patcher.swap(then)
        fresh.swap(then)
        assert bits_of(model) == bits_of(twin)


def test_one_adapter_in_sequence_is_the_same_to_the_last_bit(adapters: list[Adapter]) -> None:
    for adapter in adapters:
        model, twin = zoo.Model(), zoo.Model()
        Patcher({"unet": model}).swap([StackEntry(adapter, 0.7)], mode="sequential")
        Patcher({"unet": twin}).swap([StackEntry(adapter, 0.7)])
        assert bits_of(model) == bits_of(twin)


def test_weights_that_share_some_of_their_elements_are_not_both_changed() -> None:
    model = nn.ModuleDict({"whole": nn.Linear(12, 8, bias=False), "upper": nn.Linear(12, 4, bias=False)})
    whole = model["whole"].get_parameter("weight")
    model["upper"].weight = nn.Parameter(whole.detach()[:4])
    before = bits_of(model)
    patcher = Patcher({"unet": model})
    stack = [
        StackEntry(load(zoo.file({f"lora_unet_{name}": zoo.tensors("lora", model[name].get_parameter("weight"))})))
        for name in model
    ]
    with pytest.raises(StackRefused, match="shares some of its elements"):
        patcher.swap(stack)
    assert bits_of(model) == before
    patcher.swap(stack[:1])
    patcher.restore()
    assert bits_of(model) == before


def test_one_module_as_two_components_is_not_changed_twice() -> None:
    part = nn.ModuleDict({"linear": nn.Linear(12, 8)})
    tensors = zoo.tensors("lora", part["linear"].get_parameter("weight"))
    data = zoo.file({"lora_te1_linear": tensors, "lora_te2_linear": tensors})
    with pytest.raises(StackRefused, match="under both names"):
        Patcher({"text_encoder": part, "text_encoder_2": part}).swap([StackEntry(load(data))])


def test_weights_that_were_not_moved_are_restored_though_another_was() -> None:
    model = zoo.Model()
    kinds = ("linear", "square")
    pristine = {kind: bits(model.get_parameter(f"layers.{kind}.weight")) for kind in kinds}
    layers = {f"lora_unet_layers_{k}": zoo.tensors("lora", model.get_parameter(f"layers.{k}.weight")) for k in kinds}
    patcher = Patcher({"unet": model})
    patcher.swap([StackEntry(load(zoo.file(layers)))])
    model.layers["linear"].weight = nn.Parameter(model.get_parameter("layers.linear.weight").detach().clone())
    with pytest.raises(ModelChanged):
        patcher.restore()
    assert bits(model.get_parameter("layers.square.weight")) == pristine["square"]


@pytest.mark.parametrize("axis", ["output", "input"])
@pytest.mark.parametrize("size", [1e18, 1e11])
def test_a_norm_that_float32_cannot_hold_is_noticed(axis: str, size: float) -> None:
    weight = zoo.layer("linear").get_parameter("weight")
    tensors = {
        name: tensor * size if "lora_" in name else tensor
        for name, tensor in zoo.tensors(f"dora-lora-{axis}", weight).items()
    }
    with pytest.raises(StackRefused, match="not finite"):
        Patcher({"unet": zoo.Model()}).swap([StackEntry(load(zoo.file({"lora_unet_layers_linear": tensors})))])


def test_weights_may_have_any_memory_layout(adapters: list[Adapter]) -> None:
    model, plain = zoo.Model(), zoo.Model()
    for weight in model.parameters():
        weight.data = weight.data.movedim(0, -1).contiguous().movedim(-1, 0)
    assert not model.get_parameter("layers.linear.weight").is_contiguous()
    patcher = Patcher({"unet": model})
    for adapter in adapters:
        one = Patcher({"unet": plain})
        patcher.swap([StackEntry(adapter)])
        one.swap([StackEntry(adapter)])
        assert bits_of(model) == bits_of(plain)
        one.restore()


def test_copies_may_be_kept_on_the_host(adapters: list[Adapter]) -> None:
    model, other = zoo.Model(), zoo.Model()
    patcher = Patcher({"unet": model}, pristine="host")
    patcher.swap([StackEntry(adapters[4])])
    Patcher({"unet": other}).swap([StackEntry(adapters[4])])
    assert bits_of(model) == bits_of(other)
    patcher.restore()
    assert bits_of(model) == bits_of(zoo.Model())
