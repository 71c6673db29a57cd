"""The file: the very change that was trained, under names that are all read, with the same bytes every time."""

import pytest
import torch
from torch import Tensor

from lycoris import Adapter, Bypass, Patcher, Recompute, StackEntry, StackRefused, checked, load
from lycoris.errors import PlanRefused
from lycoris.placement.resolve import resolve
from lycoris.training.export import Naming, export
from lycoris.training.plan import plan
from lycoris.training.trainable import TrainableAdapter, begin
from tests.lycoris.kernels.test_stored import quantise
from tests.lycoris.measure import assert_close, bits, bits_of
from tests.lycoris.placement.test_views import flux
from tests.lycoris.test_recompute import left
from tests.lycoris.training.cases import CASES
from tests.lycoris.training.models import Denoiser, given, trained

NAMINGS: tuple[Naming, ...] = ("kohya", "diffusers")
UNNAMED = {"locon-tucker"}  # PEFT has no name for a core


def taught(name: str, model: torch.nn.Module) -> tuple[TrainableAdapter, Tensor]:
    """Return an adapter after a few steps, and the model's output with it."""
    adapter = begin({"unet": model}, CASES[name].plan(), seed=5)
    losses = trained(model, adapter, 3, 1e-2)
    assert losses[-1] < losses[0]
    with adapter.applied({"unet": model}), torch.no_grad():
        return adapter, model(given(next(model.parameters()).dtype))


def _changes(adapter: Adapter, model: torch.nn.Module) -> dict[str, Tensor]:
    """Return the change of every parameter of a denoiser that an adapter changes."""
    found: dict[str, Tensor] = {}
    for target in resolve(adapter, {"unet": model}).targets:
        pristine = model.get_parameter(target.parameter).detach()
        found[target.parameter] = torch.zeros_like(pristine)
        with torch.no_grad():
            target.change.add_change(found[target.parameter], pristine, 1.0)
    return found


@pytest.mark.parametrize("name", CASES)
def test_what_is_served_is_what_was_trained(name: str) -> None:
    model = Denoiser().requires_grad_(False)
    before = bits_of(model)
    adapter, wanted = taught(name, model)
    assert bits_of(model) == before and not left(model)
    read = load(export(adapter))
    for kind in (Patcher, Recompute, Bypass):
        served = kind({"unet": model})
        try:
            served.swap([StackEntry(read)])
        except StackRefused:
            assert kind is Bypass  # many have no form beside the weight
            continue
        with torch.no_grad():
            assert_close(model(given()), wanted, f"{name}, {kind.__name__}")
        served.restore()
    if name in UNNAMED:
        with pytest.raises(PlanRefused, match="kohya"):
            export(adapter, "diffusers")
        return
    theirs = _changes(load(export(adapter, "diffusers")), model)
    for parameter, change in _changes(read, model).items():
        assert_close(theirs[parameter], change, f"{name}, {parameter} by diffusers' names")


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("name", sorted(CASES.keys() - UNNAMED))
def test_in_float16_it_is_half_as_large_and_what_is_served_is_what_was_trained(name: str, naming: Naming) -> None:
    model = Denoiser().requires_grad_(False)
    adapter, wanted = taught(name, model)
    whole, half = export(adapter, naming), export(adapter, naming, dtype=torch.float16)
    assert len(half) < len(whole)
    Patcher({"unet": model}).swap([StackEntry(load(half))])
    with torch.no_grad():
        assert_close(model(given()), wanted, name, torch.float16)


def test_a_factor_that_float16_does_not_hold_is_refused_by_name() -> None:
    adapter = begin({"unet": Denoiser()}, plan("lora", rank=2), 3)
    name, factor = next(iter(adapter.factors.items()))
    with torch.no_grad():
        factor.view(-1)[0] = 65520.0  # the first that rounds to infinity
    with pytest.raises(PlanRefused, match="goes up to 65520, and float16 to 65504: keep float32") as refused:
        export(adapter, dtype=torch.float16)
    assert [reason.subject for reason in refused.value.reasons] == [name]
    assert load(export(adapter)).layers


@pytest.mark.parametrize("name", ["lora", "dora", "oft", "loha"])
def test_on_a_half_precision_base_the_merged_weights_are_the_trained_ones(name: str) -> None:
    model = Denoiser(torch.bfloat16).requires_grad_(False)
    adapter, wanted = taught(name, model)
    Patcher({"unet": model}).swap([StackEntry(load(export(adapter)))])
    with torch.no_grad():
        assert bits(model(given(torch.bfloat16))) == bits(wanted)


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("numbers", [(1, 0.5), (8, 3.0), (48, 48.0)], ids=str)
def test_hazard_13_the_files_scale_is_the_one_trained_with(numbers: tuple[int, float], naming: Naming) -> None:
    model = Denoiser().requires_grad_(False)
    rank, alpha = numbers
    model.down_blocks[0].to_q = torch.nn.Linear(8, 12)
    wide = torch.nn.Linear(64, 64)
    components = {"unet": torch.nn.ModuleDict({"model": model, "wide": wide})}
    options = {"conv_rank": 2, "conv_alpha": 5.0}
    adapter = begin(components, plan("locon", rank=rank, alpha=alpha, options=options), seed=2)
    adapter.set({name: torch.randn_like(factor) for name, factor in adapter.factors.items()})
    trained_ones = resolve(adapter.adapter, components).targets
    assert {2, rank} <= {target.change.rank for target in trained_ones}
    wanted, found = (_changes(each, components["unet"]) for each in (adapter.adapter, load(export(adapter, naming))))
    for parameter, change in wanted.items():
        assert_close(found[parameter], change, parameter)


def test_hazard_26_an_adapter_of_a_quantised_base_is_served_as_it_was_trained() -> None:
    model = Denoiser().requires_grad_(False)
    for path in ("down_blocks.0.ff", "up_blocks.0.ff"):
        quantise(model.get_submodule(path))
    adapter, wanted = taught("oft", model)
    Recompute({"unet": model}).swap([StackEntry(load(export(adapter)))])
    with torch.no_grad():
        assert_close(model(given()), wanted, "on eight bits")


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("name", sorted(CASES.keys() - UNNAMED))
def test_hazard_28_every_name_has_a_place_and_every_layer_all_its_factors(name: str, naming: Naming) -> None:
    model = Denoiser()
    adapter = begin({"unet": model}, CASES[name].plan(), seed=5)
    data = export(adapter, naming, {"modelspec.title": "a title"})
    stored = checked(data).shapes
    start = ("lora_unet_", "base_model.vera") if naming == "kohya" else ("unet.", "base_model.vera")
    assert all(key.startswith(start) for key in stored)
    expected = sum(len(group) for group in adapter.tensors.values())
    if name == "vera":
        expected -= 2 * (len(adapter.layers) - 1)  # the matrices once
    if naming == "diffusers" and any("lora_up.weight" in group for group in adapter.tensors.values()):
        expected -= len(adapter.layers)  # no alpha
    assert len(stored) == expected
    metadata = load(data).metadata
    assert {"ss_network_module", "ss_network_args", "modelspec.sai_model_spec", "modelspec.title"} <= metadata.keys()
    assert not any("date" in key or "time" in key for key in metadata)


def test_the_same_numbers_are_the_same_bytes() -> None:
    metadata = {f"key{number}": str(number) for number in range(20)}  # which safetensors writes in a random order
    made = [export(begin({"unet": Denoiser()}, plan("loha", rank=2), 3), metadata=metadata) for _ in range(3)]
    assert made[0] == made[1] == made[2]
    assert load(made[0]).metadata.items() > metadata.items()


def test_other_factors_are_written_without_touching_those_in_training() -> None:
    model = Denoiser()
    adapter = begin({"unet": model}, plan("lora", rank=2), 3)
    mean = {name: torch.full_like(factor, 0.25) for name, factor in adapter.factors.items()}
    before = [bits(factor) for factor in adapter.factors.values()]
    read = load(export(adapter, factors=mean))
    assert [bits(factor) for factor in adapter.factors.values()] == before
    assert all(
        bool((t == 0.25).all())
        for layer in read.layers
        for k, t in layer.changes["weight"].tensors().items()
        if k != "alpha"
    )


def test_layers_that_their_authors_have_as_one_are_named_apart_all_of_a_component() -> None:
    model = flux(torch.float32)
    names = {
        naming: set(checked(export(begin({"transformer": model}, plan("lora", rank=2), 1), naming)).shapes)
        for naming in NAMINGS
    }
    assert {name.split("_transformer")[0] for name in names["kohya"]} == {"lora"}
    assert all(name.startswith("transformer.") for name in names["diffusers"])
    assert any("to_q" in name for name in names["kohya"])
