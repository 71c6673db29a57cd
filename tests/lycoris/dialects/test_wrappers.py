"""Names with traces of a wrapper, or converted by half: accepted where they can mean one module, else refused."""

from itertools import product

import pytest
import torch
from torch import nn

from lycoris import AdapterError, Code, Index, NoPlace, Patcher, inspect, load, resolve
from lycoris.adapter import read_names
from lycoris.dialects.prefixes import DOTTED_PREFIXES, FLAT_PREFIXES
from lycoris.dialects.wrappers import flattened, unwrapped
from lycoris.patcher import StackEntry
from tests.lycoris import zoo
from tests.lycoris.measure import bits_of

PATH = "layers.linear"
OUTER = ("", "module.", "_orig_mod.", "base_model.model.", "module._orig_mod.", "_orig_mod.base_model.model.module.")
INNER = ("", "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "base_layer.", "default.")
DENOISER = [prefix for prefix, components in DOTTED_PREFIXES.items() if "unet" in components and "llm" not in prefix]
FLAT_DENOISER = [prefix for prefix, components in FLAT_PREFIXES.items() if "unet" in components]


def traced() -> list[str]:
    """Every way to spell the one module with traces of wrappers, dotted and flat."""
    dotted = [
        f"{before}{prefix}{after}layers.{inner}linear"
        for before, prefix, after, inner in product(OUTER, ["", *DENOISER], OUTER, INNER)
        if not (before and after)
    ]
    flat = [
        f"{prefix}{after.replace('.', '_')}layers_{inner.replace('.', '_')}linear{end}"
        for prefix, after, inner, end in product(FLAT_DENOISER, OUTER, INNER[:-1], ("", "_"))
    ]
    half = ["layers.linear", "layers_linear", "_layers.linear", "layers.linear_", "_orig_mod.layers.linear"]
    return [*dotted, *flat, *(f"{prefix[:-1]}{dot}{path}" for prefix in FLAT_DENOISER for dot in "._" for path in half)]


TRACED = sorted(set(traced()))


def test_every_trace_of_a_wrapper_leads_to_the_one_module() -> None:
    index = Index({"unet": zoo.Model()})
    shape = index.shapes["unet"][f"{PATH}.weight"]
    for name in TRACED:
        adapter, reasons = read_names({f"{name}.diff": shape})
        assert not reasons, name
        (target,) = resolve(adapter, index).targets
        assert (target.component, target.parameter) == ("unet", f"{PATH}.weight"), name
    print(f"{len(TRACED)} names")


@pytest.mark.parametrize("algorithm", [name for name, (_, kinds) in zoo.ALGORITHMS.items() if "linear" in kinds])
def test_a_traced_name_is_applied_as_the_plain_one(algorithm: str) -> None:
    tensors = zoo.tensors(algorithm, zoo.layer("linear").get_parameter("weight"))
    names = ["lora_unet_layers_linear", *TRACED[:: len(TRACED) // 5]]
    results = []
    for name in names:
        model = zoo.Model()
        Patcher({"unet": model}).swap([StackEntry(load(zoo.file({name: tensors})), 0.5)])
        results.append(bits_of(model))
    assert all(bits == results[0] for bits in results), names
    assert results[0] != bits_of(zoo.Model())


@pytest.mark.slow
def test_a_trace_and_the_plain_name_are_one_place() -> None:
    group = {"diff": torch.zeros(8, 12)}
    for name in TRACED:
        if name == "lora_unet_layers_linear":
            continue
        with pytest.raises(AdapterError) as caught:
            inspect(zoo.file({"lora_unet_layers_linear": group, name: group}), {"unet": zoo.Model()})
        assert {reason.code for reason in caught.value.reasons} == {Code.DUPLICATE}, name


@pytest.mark.parametrize("end", ["lora_A.default.weight", "default.lora_A.weight", "lora_down.default.weight"])
def test_an_adapters_name_at_the_end_is_no_module(end: str) -> None:
    up = end.replace("lora_A", "lora_B").replace("lora_down", "lora_up")
    adapter, reasons = read_names({f"unet.{PATH}.{end}": (3, 12), f"unet.{PATH}.{up}": (8, 3)})
    assert not reasons
    assert [layer.module for layer in adapter.layers] == [PATH]


class Odd(nn.Module):
    """A model whose own paths look like traces, and two that are one with underscores for dots."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.ModuleDict({"inner": nn.Linear(4, 4), "twin": nn.Linear(4, 4)})
        self.default = nn.ModuleDict({"_orig_mod": nn.Linear(4, 4)})
        self.twin = nn.Linear(4, 4)
        self.module_list = nn.ModuleList([nn.Linear(4, 4)])
        self.a = nn.ModuleDict({"b_c": nn.Linear(4, 4)})
        self.a_b = nn.ModuleDict({"c": nn.Linear(4, 4)})
        self.end_ = nn.Linear(4, 4)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("module.inner", "module.inner"),
        ("inner", "module.inner"),
        ("lora_unet_module_inner", "module.inner"),
        ("default._orig_mod", "default._orig_mod"),
        ("module_list.0", "module_list.0"),
        ("lora_unet_module_list_0", "module_list.0"),
        ("a.b_c", "a.b_c"),
        ("a_b.c", "a_b.c"),
        ("lora_unet_end_", "end_"),
        ("end_", "end_"),
        ("twin", None),
        ("module.twin", None),
        ("lora_unet_twin", None),
        ("lora_unet_a_b_c", None),
        ("lora_unet_a.b_c", None),
        ("a_b_c", None),
    ],
)
def test_a_model_with_such_paths_of_its_own_is_found_or_the_name_is_ambiguous(name: str, meant: str | None) -> None:
    data = zoo.file({name: {"diff": torch.ones(4, 4)}})
    if meant is None:
        with pytest.raises(NoPlace) as caught:
            inspect(data, {"unet": Odd()})
        assert [reason.code for reason in caught.value.reasons] == [Code.AMBIGUOUS]
        return
    (target,) = resolve(load(data), {"unet": Odd()}).targets
    assert target.parameter == f"{meant}.weight"


def test_what_is_left_of_a_name_has_no_trace() -> None:
    for name in TRACED:
        assert unwrapped(unwrapped(name)) == unwrapped(name)
        assert flattened(flattened(name)) == flattened(name)
