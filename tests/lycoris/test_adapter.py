"""`load`: every tensor is read by something or named; algorithms are chosen layer by layer."""

import json
import math

import pytest
import safetensors.torch
import torch
from torch import nn

from lycoris import AdapterError, Code, FileRefused, Patcher, load
from lycoris.patcher import StackEntry
from tests.lycoris import zoo
from tests.lycoris.measure import assert_close

WEIGHT = zoo.layer("linear").get_parameter("weight")


def group(algorithm: str, kind: str = "linear") -> zoo.Tensors:
    return zoo.tensors(algorithm, zoo.layer(kind).get_parameter("weight"))


def test_a_file_may_mix_algorithms_layer_by_layer() -> None:
    layers = {
        "lora_unet_a": group("lora"),
        "lora_unet_b": group("lora", "conv3x3"),
        "lora_unet_c": group("loha"),
        "lycoris_d": group("lokr-low"),
        "unet.e": group("dora-loha-input"),
        "lora_te_f": group("norm", "layernorm"),
        "lora_te_g": {"diff_b": torch.ones(8)},
        "bare.h": group("full"),
    }
    adapter = load(zoo.file(layers))
    assert adapter.algorithms == {"dora-loha": 1, "full": 2, "locon": 1, "loha": 1, "lokr": 1, "lora": 1, "norm": 1}
    assert adapter.components == {"": 1, "text_encoder": 2, "unet": 5}
    assert adapter.ranks == (zoo.RANK,)
    assert adapter.nbytes == sum(tensor.nbytes for layer in layers.values() for tensor in layer.values())


def test_every_offender_is_named_at_once() -> None:
    tensors = {
        "what.is_this": torch.ones(2),
        "lora_unet_a.lora_up.weight": torch.ones(8, 3),
        "lora_unet_b.diff": torch.full((2, 2), float("nan")),
        "lora_unet_c.alpha": torch.tensor(1.0),
        "lora_unet_d.diff": torch.ones(2, 2),
    }
    with pytest.raises(FileRefused) as caught:
        load(safetensors.torch.save(tensors))
    assert {(reason.subject, reason.code) for reason in caught.value.reasons} == {
        ("what.is_this", Code.UNKNOWN_TENSOR),
        ("unet.a", Code.INCOMPLETE),
        ("lora_unet_b.diff", Code.NOT_FINITE),
        ("lora_unet_c.alpha", Code.UNKNOWN_TENSOR),
    }


def test_what_the_uploader_declares_is_left_out_and_listed() -> None:
    tensors = {"vae.x.diff": torch.ones(2), "bundle_emb.a.momentum": torch.ones(2), **_flat(group("lora"))}
    data = safetensors.torch.save(tensors)
    with pytest.raises(FileRefused):
        load(data)
    adapter = load(data, ignore=["bundle_emb.*", "vae.*"])
    assert adapter.ignored == ("bundle_emb.a.momentum", "vae.x.diff")
    assert adapter.algorithms == {"lora": 1}
    assert adapter.sha256 == load(data, ignore=["vae.*", "bundle_emb.?.*"]).sha256
    with pytest.raises(FileRefused) as caught:
        load(data, ignore=["*"])
    assert caught.value.reasons[0].code == Code.EMPTY


def test_ignoring_half_a_layer_leaves_half_a_layer() -> None:
    with pytest.raises(FileRefused) as caught:
        load(zoo.file({"lora_unet_a": group("lora")}), ignore=["*.lora_down.*"])
    assert {reason.code for reason in caught.value.reasons} == {Code.INCOMPLETE}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("unet.a.lora_A.weight", "unet.a.lora_down.weight"),
        ("unet.a.lora_A.weight", "unet.a.lora_A.default.weight"),
        ("unet.a.lora_A.one.weight", "unet.a.lora_A.two.weight"),
        ("lora_unet_a.lora_down.weight", "lycoris_a.lora_down.weight"),
        ("unet.a.lora_A.weight", "base_model.model.unet.a.lora_A.weight"),
        ("unet.a.lora_A.weight", "unet.a.lora_embedding_B"),
    ],
)
def test_two_tensors_on_one_place_are_refused(first: str, second: str) -> None:
    up = first.rsplit(".lora_", 1)[0] + ".lora_up.weight"
    tensors = {up: torch.ones(8, 3), first: torch.ones(3, 12), second: torch.ones(3, 12)}
    with pytest.raises(FileRefused) as caught:
        load(safetensors.torch.save(tensors))
    assert {reason.code for reason in caught.value.reasons} == {Code.DUPLICATE}


def test_halves_of_two_adapters_are_no_adapter() -> None:
    tensors = {"unet.a.lora_A.one.weight": torch.ones(3, 12), "unet.a.lora_B.two.weight": torch.ones(8, 3)}
    with pytest.raises(FileRefused, match="one, two") as caught:
        load(safetensors.torch.save(tensors))
    assert [reason.code for reason in caught.value.reasons] == [Code.DUPLICATE]
    assert load(safetensors.torch.save({name.replace("two", "one"): t for name, t in tensors.items()})).layers


@pytest.mark.parametrize("end", ["", ".default"])
def test_the_factors_of_an_embedding_are_of_its_transpose(end: str) -> None:
    table = nn.Embedding(12, 8).requires_grad_(False)
    a, b = torch.randn(3, 12), torch.randn(8, 3)
    tensors = {f"unet.words.lora_embedding_A{end}": a, f"unet.words.lora_embedding_B{end}": b}
    pristine = table.weight.clone()
    Patcher({"unet": nn.ModuleDict({"words": table})}).swap([StackEntry(load(safetensors.torch.save(tensors)), 0.5)])
    assert_close(table.weight, pristine + 0.5 * (b @ a).T, "an embedding")


CONFIG = {"unet.r": 3, "unet.lora_alpha": 6}


@pytest.mark.parametrize(
    ("config", "gamma"),
    [
        (CONFIG, 2.0),
        (CONFIG | {"unet.use_rslora": True}, 6 / math.sqrt(3)),
        (CONFIG | {"unet.alpha_pattern": {"a.b": 1.5}}, 0.5),
        (CONFIG | {"unet.alpha_pattern": {"b": 1.5}}, 0.5),
        (CONFIG | {"unet.alpha_pattern": {"c": 1.5}}, 2.0),
        ({"text_encoder.lora_alpha": 9}, 1.0),
        (None, 1.0),
    ],
)
def test_the_scale_that_peft_keeps_in_its_configuration(config: dict | None, gamma: float) -> None:
    tensors = {f"unet.a.b.lora_{'A' if 'down' in k else 'B'}.weight": v for k, v in group("lora-without-alpha").items()}
    metadata = None if config is None else {"lora_adapter_metadata": json.dumps(config)}
    change = load(safetensors.torch.save(tensors, metadata)).layers[0].changes["weight"]
    added = torch.zeros(WEIGHT.shape)
    change.add_change(added, WEIGHT.detach(), 1.0)
    product = tensors["unet.a.b.lora_B.weight"] @ tensors["unet.a.b.lora_A.weight"]
    assert_close(added, gamma * product, "scaled by the configuration")


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "[]",
        json.dumps({"unet.lora_alpha": "6"}),
        json.dumps({"unet.lora_alpha": True}),
        json.dumps({"unet.lora_alpha": 0}),
        json.dumps({"unet.lora_alpha": float("inf")}),
        json.dumps(CONFIG | {"unet.alpha_pattern": {"(a+)+$": 1}}),
        json.dumps(CONFIG | {"unet.alpha_pattern": ["a"]}),
        json.dumps(CONFIG | {"unet.alpha_pattern": {"a": None}}),
        json.dumps(CONFIG | {"unet.use_rslora": "yes"}),
        '{"a":' * 100_000,
    ],
)
def test_a_configuration_that_cannot_be_read_is_refused(config: str) -> None:
    with pytest.raises(AdapterError) as caught:
        load(safetensors.torch.save(_flat(group("lora-without-alpha")), {"lora_adapter_metadata": config}))
    assert caught.value.reasons[0].code == Code.BAD_METADATA


def test_an_alpha_that_is_missing_is_doubted() -> None:
    assert any("no alpha" in doubt for doubt in load(zoo.file({"lora_unet_a": group("lora-without-alpha")})).doubts)
    assert not load(zoo.file({"lora_unet_a": group("lora")})).doubts


@pytest.mark.parametrize("stored", [torch.tensor([1.5]), torch.tensor(1.5).half(), torch.tensor(1.5).double()], ids=str)
def test_an_alpha_in_any_form_is_the_same_alpha(stored: torch.Tensor) -> None:
    model = torch.nn.ModuleDict({"a": zoo.layer("linear")})
    Patcher({"unet": model}).swap([StackEntry(load(zoo.file({"lora_unet_a": group("lora") | {"alpha": stored}})))])
    other = torch.nn.ModuleDict({"a": zoo.layer("linear")})
    Patcher({"unet": other}).swap([StackEntry(load(zoo.file({"lora_unet_a": group("lora")})))])
    assert torch.equal(model["a"].get_parameter("weight"), other["a"].get_parameter("weight"))


def _flat(tensors: zoo.Tensors) -> zoo.Tensors:
    return {f"lora_unet_a.{name}": tensor for name, tensor in tensors.items()}
