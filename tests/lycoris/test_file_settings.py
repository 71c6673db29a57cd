"""The scale that is not among the tensors: PEFT's own merging is what every file of diffusers' is held to."""

import json
import random
import re
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoHaConfig, LoKrConfig, LoraConfig
from peft.utils.other import get_pattern_key
from peft.utils.save_and_load import get_peft_model_state_dict
from torch import Tensor, nn

from lycoris import Adapter, AdapterError, Code, FileRefused, Patcher, load
from lycoris.dialects.header_config import KEY, PLAIN_KEYS
from lycoris.dialects.patterns import Pattern
from lycoris.patcher import StackEntry
from tests.lycoris import zoo
from tests.lycoris.measure import assert_close

Q, K = "transformer_blocks.0.attn.to_q", "transformer_blocks.1.attn.to_k"
LAYERS = [Q, K, "transformer_blocks.0.ff.net.0.proj", "proj_out"]


def flux() -> FluxTransformer2DModel:
    torch.manual_seed(0)
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=2,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        pooled_projection_dim=20,
        axes_dims_rope=(4, 4, 8),
    ).requires_grad_(False)


CONFIGS: dict[str, Any] = {
    "lora": LoraConfig(r=4, lora_alpha=9, target_modules=LAYERS),
    "rslora": LoraConfig(r=4, lora_alpha=3, use_rslora=True, target_modules=LAYERS),
    "alpha by module": LoraConfig(r=4, lora_alpha=3, alpha_pattern={"to_q": 5, K: 7}, target_modules=LAYERS),
    "from the root": LoraConfig(
        r=4, lora_alpha=3, alpha_pattern={"^proj_out": 8, "^to_q": 5, "attn.to_q": 2}, target_modules=LAYERS
    ),
    "rank by module": LoraConfig(
        r=4, lora_alpha=3, rank_pattern={"^proj_out": 2, "to_k": 6}, use_rslora=True, target_modules=LAYERS
    ),
    "dora": LoraConfig(r=4, lora_alpha=2, use_dora=True, target_modules=LAYERS),
    "gaussian": LoraConfig(r=4, lora_alpha=2, init_lora_weights="gaussian", target_modules=LAYERS),
    "loha": LoHaConfig(r=3, alpha=8, alpha_pattern={"to_q": 5}, target_modules=LAYERS),
    "lokr": LoKrConfig(r=2, alpha=8, alpha_pattern={"^proj_out": 5}, target_modules=LAYERS),
    "lokr, whole factors": LoKrConfig(r=64, alpha=16, rank_pattern={"to_q": 32}, target_modules=LAYERS),
    "lokr, both cut": LoKrConfig(r=1, alpha=3, decompose_both=True, target_modules=LAYERS),
}


def trained(config: Any) -> FluxTransformer2DModel:
    """A transformer with an adapter of the kind, whose numbers are no beginning's."""
    model = flux()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.add_adapter(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if re.search(r"lora_[AB]|hada_|lokr_", name):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def merged(model: FluxTransformer2DModel) -> dict[str, Tensor]:
    """Every weight that PEFT's own merging leaves, under its plain name."""
    found: dict[str, Tensor] = {}
    for path in LAYERS:
        layer: Any = model.get_submodule(path)
        layer.merge()
        found[path] = layer.get_base_layer().weight.detach().clone()
    return found


def applied(source: Any, transformer: nn.Module | None = None) -> dict[str, Tensor]:
    model = transformer or flux()
    Patcher({"transformer": model}).swap([StackEntry(load(source))])
    return {path: model.get_submodule(path).get_parameter("weight").detach() for path in LAYERS}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_file_of_diffusers_is_applied_as_peft_merges_it(name: str, tmp_path: Path) -> None:
    model = trained(CONFIGS[name])
    model.save_lora_adapter(tmp_path, weight_name="alone.safetensors")
    layers = get_peft_model_state_dict(model, adapter_name="default")
    config = json.loads(json.dumps(model.peft_config["default"].to_dict(), default=list))  # pyright: ignore[reportArgumentType]
    FluxPipeline.save_lora_weights(
        tmp_path,
        layers,  # pyright: ignore[reportArgumentType]
        weight_name="whole.safetensors",
        transformer_lora_adapter_metadata=config,
    )
    wanted = merged(model)
    for file in ("alone.safetensors", "whole.safetensors"):
        assert safetensors.safe_open(tmp_path / file, "pt").metadata()[KEY]
        found = applied(tmp_path / file)
        for path in LAYERS:
            assert_close(found[path], wanted[path], f"{name}, {file}, {path}")
        assert not load(tmp_path / file).doubts or "^to_q" in str(load(tmp_path / file).doubts)


PREFIXES = ("", "transformer.", "diffusion_model.", "base_model.model.", "base_model.model.transformer.", "module.")
FLAT_PREFIXES = ("lora_unet_", "lycoris_", "lora_transformer_")
FAMILIES = {
    "lora": {"peft_type": "LORA", "r": zoo.RANK, "lora_alpha": 6.0},
    "loha": {"peft_type": "LOHA", "r": zoo.RANK, "alpha": 6.0},
    "lokr-low": {"peft_type": "LOKR", "r": zoo.RANK, "alpha": 6.0},
    "dora-lora-output": {"peft_type": "LORA", "r": zoo.RANK, "lora_alpha": 6.0, "use_dora": True},
}
SHAPE = zoo.layer("linear").get_parameter("weight").detach()


def tensors(algorithm: str, module: str) -> dict[str, Tensor]:
    kept = {name: tensor for name, tensor in zoo.tensors(algorithm, SHAPE).items() if name != "alpha"}
    return {f"{module}.{name}": tensor for name, tensor in kept.items()}


def change_of(adapter: Adapter) -> Tensor:
    added = torch.zeros(SHAPE.shape)
    adapter.layers[0].changes["weight"].add_change(added, SHAPE, 1.0)
    return added


def header(fields: dict[str, Any], prefix: str = "") -> dict[str, str]:
    return {KEY: json.dumps({f"{prefix}{name}": value for name, value in fields.items()})}


@pytest.mark.parametrize("algorithm", FAMILIES)
@pytest.mark.parametrize("typed", [True, False])
def test_whatever_is_in_front_of_the_names_and_of_the_fields(algorithm: str, typed: bool) -> None:
    fields = FAMILIES[algorithm] if typed else {k: v for k, v in FAMILIES[algorithm].items() if k != "peft_type"}
    wanted = change_of(load(safetensors.torch.save(tensors(algorithm, "a.b") | {"a.b.alpha": torch.tensor(6.0)})))
    unscaled = change_of(load(safetensors.torch.save(tensors(algorithm, "a.b"))))
    assert not torch.equal(wanted, unscaled)
    for prefix, of_fields in product(
        (*PREFIXES, *FLAT_PREFIXES), ("", "transformer.", "diffusion_model.", "base_model.model.")
    ):
        module = f"{prefix}{'a_b' if prefix in FLAT_PREFIXES else 'a.b'}"
        for pattern in ({}, {"^a.b": 6.0}, {"a.b": 6.0}):
            default = {name: 1.0 for name in ("alpha", "lora_alpha") if pattern and name in fields}
            metadata = header(fields | default | {"alpha_pattern": pattern}, of_fields)
            found = change_of(load(safetensors.torch.save(tensors(algorithm, module), metadata)))
            assert_close(found, wanted, f"{module} by {of_fields}{pattern}")


def lora(module: str = "a.b", rank: int = 3) -> dict[str, Tensor]:
    return {f"{module}.lora_A.weight": torch.ones(rank, 12), f"{module}.lora_B.weight": torch.ones(8, rank)}


def reasons(layers: dict[str, Tensor], metadata: dict[str, str]) -> str:
    with pytest.raises(FileRefused) as caught:
        load(safetensors.torch.save(layers, metadata))
    assert {reason.code for reason in caught.value.reasons} == {Code.BAD_METADATA}
    return str(caught.value)


def gamma(layers: dict[str, Tensor], metadata: dict[str, str]) -> float:
    change: Any = load(safetensors.torch.save(layers, metadata)).layers[0].changes["weight"]
    return change.gamma


LORA = FAMILIES["lora"]
TWO = {f"{part}.{name}": value for part in ("unet", "transformer") for name, value in LORA.items()}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        *(
            ({"init_lora_weights": name}, name)
            for name in ("pissa", "PiSSA", "pissa_niter_16", "olora", "loftq", "corda")
        ),
        *(({"init_lora_weights": name}, name) for name in ("lora_ga", "something_new")),
        *(({name: True}, name) for name in ("use_qalora", "fan_in_fan_out", "monteclora_config", "kasa_config")),
        ({"modules_to_save": ["proj_out"]}, "modules_to_save"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"bias": "lora_only"}, "bias"),
        ({"use_dora": True}, "use_dora"),
        ({"peft_type": "RANDLORA"}, "RANDLORA"),
        ({"peft_type": "LOHA", "alpha": 2}, "LOHA"),
        ({"peft_type": 3}, "3"),
        ({"r": 64}, "rank 64"),
        ({"rank_pattern": {"^a.b": 5}}, "rank 5"),
        ({"lora_alpha": 0}, "lora_alpha"),
        ({"lora_alpha": float("nan")}, "lora_alpha"),
        ({"lora_alpha": 10**400}, "lora_alpha"),
        ({"lora_alpha": None}, "lora_alpha"),
        ({"lora_alpha": [6]}, "lora_alpha"),
        ({"alpha_pattern": {"a.b": 0}}, "a.b"),
        ({"alpha_pattern": {"(a+)+$": 1}}, "alpha_pattern"),
        ({"alpha_pattern": {"^c.d": 1}}, "c.d"),  # nothing of this file: it was renamed
        ({"use_rslora": 1}, "use_rslora"),
        ({"r": 0}, "r that"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_what_adapter_config_is_refused_for_a_header_is_refused_for(
    fields: dict[str, Any], says: str, prefix: str
) -> None:
    assert says in reasons(lora(), header(LORA | fields, prefix))


@pytest.mark.parametrize("begun", [True, False, None, "gaussian", "eva", "orthogonal", "mica", "Gaussian"])
def test_a_beginning_that_left_the_base_alone_is_taken(begun: Any) -> None:
    assert gamma(lora(), header(LORA | {"init_lora_weights": begun})) == 2.0


def test_which_of_several_configurations_is_meant_must_be_clear() -> None:
    assert gamma(lora(), {KEY: json.dumps(TWO)}) == 2.0, "both say the same"
    differing = {KEY: json.dumps(TWO | {"unet.lora_alpha": 9})}
    assert "unet" in reasons(lora(), differing)
    assert gamma(lora("unet.a.b"), differing) == 3.0
    assert gamma(lora("transformer.a.b"), differing) == 2.0
    text = {KEY: json.dumps({f"text_encoder.{name}": value for name, value in LORA.items()})}
    assert gamma(lora("unet.a.b"), text) == 1.0
    mixed = load(safetensors.torch.save(lora("text_encoder.a") | lora("b"), text))
    found: dict[str, Any] = {layer.name: layer.changes["weight"] for layer in mixed.layers}
    assert {name: change.gamma for name, change in found.items()} == {"text_encoder.a": 2.0, "b": 1.0}
    assert "components" in reasons(lora("text_encoder.a") | lora("unet.b"), header(LORA))
    assert "a_b_c" in reasons(lora("lora_unet_a_b"), header(LORA | {"alpha_pattern": {"a.b": 1, "a_b_c": 2}}))


def test_an_alpha_among_the_tensors_takes_precedence_and_a_contradiction_is_noted() -> None:
    own = lora() | {"a.b.alpha": torch.tensor(1.5)}
    for metadata in (
        header(LORA),
        header(LORA | {"r": 64}),
        {"alpha": "64"},
        header({"peft_type": "LOHA", "alpha": 2}),
    ):
        assert gamma(own, metadata) == 0.5
    doubts = load(safetensors.torch.save(own, header(LORA))).doubts
    assert any("whose own are used" in doubt and "a.b" in doubt for doubt in doubts)
    assert not load(safetensors.torch.save(own, header(LORA | {"lora_alpha": 1.5}))).doubts
    assert "pissa" in reasons(own, header(LORA | {"init_lora_weights": "pissa"}))


@pytest.mark.parametrize("key", PLAIN_KEYS)
def test_a_plain_entry_is_every_layers_alpha_and_is_noted(key: str) -> None:
    for text, scale in (
        ("6", 2.0),
        (" 1.5 ", 0.5),
        ("3e0", 1.0),
        ("-3", -1.0),
        ("a style", 1.0),
        ("", 1.0),
        ("1_5", 1.0),
    ):
        data = safetensors.torch.save(lora(), {key: text})
        assert gamma(lora(), {key: text}) == scale
        (doubt,) = (doubt for doubt in load(data).doubts if "negative" not in doubt)
        assert f"by the {key} of" in doubt if text in ("6", " 1.5 ", "3e0", "-3") else f"{key} is not used" in doubt
    for text in ("nan", "inf", "0", "1e9", "-0.0", "1e999"):
        assert key in reasons(lora(), {key: text})
        assert gamma(lora() | {"a.b.alpha": torch.tensor(6.0)}, {key: text}) == 2.0, "nobody asks for it"
    assert gamma(lora(), header(LORA) | {key: "99"}) == 2.0, "PEFT's own words come first"
    others = {other: "7" for other in PLAIN_KEYS if other != key}
    assert "different scales" in reasons(lora(), {key: "6"} | others)


def test_a_fault_in_the_scale_of_all_layers_is_one_reason() -> None:
    layers = {name: tensor for module in "abcdef" for name, tensor in lora(f"x.{module}").items()}
    for metadata in ({"alpha": "nan"}, header(LORA | {"lora_alpha": None})):
        with pytest.raises(FileRefused) as caught:
            load(safetensors.torch.save(layers, metadata))
        assert len(caught.value.reasons) == 1


def test_kohyas_entry_is_copied_by_converters_and_not_used() -> None:
    assert gamma(lora(), {"ss_network_alpha": "16"}) == 1.0
    (doubt,) = load(safetensors.torch.save(lora(), {"ss_network_alpha": "16"})).doubts
    assert "ss_network_alpha is not used" in doubt


HOSTILE: dict[str, str] = {
    "no JSON": "{",
    "no object": "[1]",
    "nested without end": '{"a":' * 100_000,
    "a field twice": '{"lora_alpha": 6, "lora_alpha": 60}',
    "a field twice, further in": '{"lora_alpha": 6, "alpha_pattern": {"a.b": 6, "a.b": 60}}',
    "a number without end": '{"lora_alpha": ' + "9" * 9_000 + "}",
    "not a number": '{"lora_alpha": NaN}',
    "more than is kept": json.dumps(LORA | {"x": "x" * (1 << 20)}),
    "components without end": json.dumps({f"part_{k}.lora_alpha": 6 for k in range(10_000)}),
    "words for fields": json.dumps({"what": "ever"}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header_is_refused_by_name(case: str) -> None:
    assert KEY in reasons(lora(), {KEY: HOSTILE[case]})


@pytest.mark.slow
def test_a_pattern_for_every_layer_of_a_large_file_is_read_in_a_moment() -> None:
    names = [f"block.{k}.to_q" for k in range(3_000)]
    layers = {name: tensor for module in names for name, tensor in lora(module, 1).items()}
    metadata = header({"r": 1, "lora_alpha": 1, "alpha_pattern": {f"^{name}": k + 1 for k, name in enumerate(names)}})
    adapter = load(safetensors.torch.save(layers, metadata))
    found: dict[str, Any] = {layer.module: layer.changes["weight"] for layer in adapter.layers}
    assert all(found[name].gamma == k + 1 for k, name in enumerate(names))


STEPS = st.lists(st.sampled_from(["a", "b", "to_q", "0"]), min_size=1, max_size=4).map(".".join)
NAMES = st.tuples(st.sampled_from(["", "^"]), STEPS).map("".join)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(NAMES, unique=True, max_size=6), STEPS)
def test_a_pattern_is_read_as_peft_reads_it(names: list[str], module: str) -> None:
    pattern = Pattern({name: float(k + 1) for k, name in enumerate(names)})
    key = get_pattern_key([name.replace(".", r"\.") for name in names], module).replace(r"\.", ".")
    assert pattern.of(module, 0.0) == pattern.numbers.get(key if key in names else "", 0.0)


VALUES = (0, 6, -1, 1.5, 10**30, True, None, "", "pissa", "LORA", [], [1], {}, {"a.b": 2}, {"^": 1}, {"a": {}})
FIELDS = (
    "peft_type",
    "r",
    "lora_alpha",
    "alpha",
    "alpha_pattern",
    "rank_pattern",
    "use_rslora",
    "init_lora_weights",
    "bias",
)


@pytest.mark.slow
def test_any_header_is_followed_or_refused_and_nothing_else() -> None:
    source, endings = random.Random(0), set()
    for _ in range(1500):
        prefix = source.choice(("", "transformer.", "unet.", ".", "..", "a.b.", "base_model.model.", "lora_unet_"))
        fields = LORA | {source.choice(FIELDS): source.choice(VALUES) for _ in range(source.randint(0, 3))}
        metadata = header(fields, prefix) | {source.choice(PLAIN_KEYS): source.choice(("6", "x", "nan", "1e400", ""))}
        try:
            load(safetensors.torch.save(lora(source.choice(("a.b", "unet.a.b", "lycoris_a_b"))), metadata))
            endings.add("followed")
        except AdapterError as refusal:
            assert refusal.reasons and json.dumps(refusal.as_dict())
            endings.add("refused")
    assert len(endings) == 2
