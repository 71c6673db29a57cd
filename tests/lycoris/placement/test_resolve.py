"""Where layers go: by the model's own paths, shapes compared before any product, misfits named; verdicts of it all."""

import dataclasses
import json
import tracemalloc
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from lycoris import AdapterError, Code, FileRefused, NoPlace, Patcher, inspect, judged, load, read, resolve
from lycoris.files.safetensors_file import judge
from lycoris.inspection import triggers
from lycoris.kernels.linalg import fits
from lycoris.patcher import StackEntry
from tests.lycoris import zoo
from tests.lycoris.measure import assert_close, bits_of

MODEL = zoo.Model()
SHAPES = {name: list(weight.shape) for name, weight in MODEL.named_parameters()}
UNET = {"unet": MODEL}


def lora(o: int, i: int, *kernel: int, rank: int = 2) -> zoo.Tensors:
    ones = [1 for _ in kernel]
    return {"lora_up.weight": torch.ones(o, rank, *ones), "lora_down.weight": torch.ones(rank, i, *kernel)}


def codes(error: AdapterError) -> list[Code]:
    return [reason.code for reason in error.reasons]


def test_shapes_alone_say_what_the_live_model_says() -> None:
    for data in zoo.adapters(MODEL, 6):
        live = inspect(data, UNET)
        assert inspect(data, {"unet": SHAPES}) == live
        assert inspect(data, {"unet": zoo.Model().to("meta")}) == live
        assert live.resolved == live.layers == len(zoo.LAYERS)
        assert json.loads(json.dumps(live.as_dict())) == json.loads(
            json.dumps(inspect(data, {"unet": SHAPES}).as_dict())
        )


@pytest.mark.parametrize(("algorithm", "kind"), zoo.PAIRS)
def test_names_and_shapes_alone_say_what_the_file_says(algorithm: str, kind: str) -> None:
    data = zoo.file({f"lora_unet_layers_{kind}": zoo.tensors(algorithm, zoo.layer(kind).get_parameter("weight"))})
    header = judge(data)
    entries = header.entries.items()
    as_json = {name: {"dtype": entry.dtype, "shape": list(entry.shape)} for name, entry in entries}
    shapes = {name: entry.shape for name, entry in entries}
    real = dataclasses.replace(inspect(data, UNET), **dict.fromkeys(("sha256", "autov2", "autov3")), warnings=())
    # Without dtypes all numbers are taken for float32, and places in a matrix cannot be that.
    for names in (header, as_json | {"__metadata__": {"format": "pt"}}, shapes):
        alone = dataclasses.replace(inspect(names, UNET), file_bytes=real.file_bytes, warnings=())
        assert alone == real


def test_of_names_alone_the_verdict_says_what_is_wrong() -> None:
    layers = {
        "lora_unet_layers_square": lora(8, 8),
        "lora_unet_layers_nowhere": lora(8, 12),
        "lora_unet_layers_linear": lora(12, 8),
        "lora_te_x": lora(8, 8),
        "y": {"z": torch.ones(1)},
    }
    names = {f"{module}.{suffix}": list(t.shape) for module, group in layers.items() for suffix, t in group.items()}
    verdict = inspect(names, UNET)
    assert (verdict.layers, verdict.resolved) == (4, 1)
    assert verdict.unresolved == ("text_encoder.x", "unet.layers_nowhere")
    assert {(reason.subject, reason.code) for reason in verdict.refused} == {
        ("text_encoder.x", Code.NO_COMPONENT),
        ("unet.layers_nowhere", Code.NO_MODULE),
        ("unet.layers_linear", Code.MISFIT),
        ("y.z", Code.UNKNOWN_TENSOR),
    }
    assert all(reason.message for reason in verdict.refused)
    assert json.loads(json.dumps(verdict.as_dict()))["unresolved"] == list(verdict.unresolved)
    assert inspect(names).unresolved == ()


@pytest.mark.parametrize(
    "names",
    [
        {"lora_unet_x.diff": [-1, 3]},
        {"lora_unet_x.diff": [1 << 40, 1]},
        {"lora_unet_x.diff": ["3", 1]},
        {"lora_unet_x.diff": [3.0, 1]},
        {"lora_unet_x.diff": None},
        {"lora_unet_x.diff": {"dtype": ["F32"], "shape": [1]}},
        {"lora_unet_x.diff": {"dtype": "F4", "shape": [1]}},
        {"lora_unet_x.diff": {"dtype": "F32"}},
        {"lora_unet_x\n.diff": [1, 3]},
        {"__metadata__": [1]},
        {"lora_unet_x.diff": [1, 3], "__metadata__": {"a": 1}},
    ],
)
def test_names_that_no_sound_file_has_are_refused(names: dict[str, Any]) -> None:
    with pytest.raises(FileRefused):
        inspect(names)


def test_a_state_dict_without_numbers_is_names_enough() -> None:
    bomb = {name: torch.empty(t.shape, device="meta") for name, t in lora(1 << 20, 12).items()}
    tensors = {f"lora_unet_layers_linear.{name}": tensor for name, tensor in bomb.items()}
    assert [reason.code for reason in inspect(tensors, UNET).refused] == [Code.MISFIT]
    fitting = {f"lora_unet_layers_linear.{name}": t.to("meta") for name, t in lora(8, 12).items()}
    assert inspect(fitting, UNET).refused == ()


def test_embeddings_are_named_and_kept_apart() -> None:
    vectors = {"clip_l": torch.ones(2, 768), "clip_g": torch.ones(2, 1280)}
    layers = {"lora_unet_layers_linear": lora(8, 12), "bundle_emb.my style": vectors}
    adapter = load(zoo.file(layers))
    assert {word: dict(held) for word, held in adapter.embeddings.items()}.keys() == {"my style"}
    assert all(torch.equal(adapter.embeddings["my style"][encoder], vectors[encoder]) for encoder in vectors)
    verdict = inspect(zoo.file(layers), UNET)
    assert verdict.embeddings == ("my style",)
    assert verdict.resolved == verdict.layers == 1
    assert any("embeddings" in warning and "my style" in warning for warning in verdict.warnings)
    broken = {
        "bundle_emb.a": {"string_to_param.*": torch.ones(2, 3, 4)},
        "bundle_emb.b": {"clip_l": torch.full((2, 3), torch.nan)},
        "bundle_emb.c": {"clip_l": torch.ones(2, 3), "string_to_param.*": torch.ones(2, 3)},
    }
    with pytest.raises(FileRefused) as caught:
        load(zoo.file(layers | broken))
    assert codes(caught.value) == [Code.BAD_SHAPE, Code.NOT_FINITE, Code.DUPLICATE]


def test_a_file_may_hold_embeddings_alone() -> None:
    verdict = inspect(zoo.file({"bundle_emb.<style>": {"t5": torch.ones(4)}}), UNET)
    assert (verdict.embeddings, verdict.layers, verdict.resolved) == (("<style>",), 0, 0)


def test_an_embedding_of_another_kind_is_refused_with_its_reason() -> None:
    with pytest.raises(FileRefused, match="a text encoder's output"):
        load(zoo.file({"bundle_emb.style": {"clip_l": torch.ones(1, 4), "clip_l_out": torch.ones(1, 4)}}))


def test_a_file_that_is_read_once_is_judged_as_by_inspect() -> None:
    data = zoo.file({"lora_unet_layers_linear": lora(8, 12)})
    assert judged(*read(data), UNET) == inspect(data, UNET)
    for spoiled in (zoo.file({"lora_unet_nowhere": lora(8, 12)}), zoo.file({"odd": {"tensor": torch.ones(1)}})):
        errors = []
        for look in (lambda data: judged(*read(data), UNET), lambda data: inspect(data, UNET)):
            with pytest.raises(AdapterError) as caught:
                look(spoiled)
            errors.append((type(caught.value), caught.value.reasons))
        assert errors[0] == errors[1]


@pytest.mark.parametrize(
    ("layers", "code"),
    [
        ({"lora_te_layers_linear": lora(8, 12)}, Code.NO_COMPONENT),
        ({"lora_unet_layers_nowhere": lora(8, 12)}, Code.NO_MODULE),
        ({"unet.layers.linear.inner": lora(8, 12)}, Code.NO_MODULE),
        ({"lora_unet_layers_linear": lora(12, 8)}, Code.MISFIT),  # as many numbers, another matrix
        ({"lora_unet_layers_linear": lora(8, 6)}, Code.MISFIT),
        ({"lora_unet_layers_linear": lora(1, 12)}, Code.MISFIT),  # never broadcast
        ({"lora_unet_layers_linear": lora(8, 4, 3, 1)}, Code.MISFIT),
        ({"lora_unet_layers_conv3x3": lora(8, 4)}, Code.MISFIT),
        ({"lora_unet_layers_conv3x3": lora(8, 4, 1, 1)}, Code.MISFIT),
        ({"lora_unet_layers_conv3x3": lora(8, 36, 1, 1)}, Code.MISFIT),
        ({"lora_unet_layers_conv3x3": lora(8, 12, 3)}, Code.MISFIT),
        ({"lora_unet_layers_grouped": lora(12, 8, 3, 3)}, Code.MISFIT),  # a group sees half of the channels
        ({"lora_unet_layers_layernorm": lora(8, 1)}, Code.MISFIT),
        ({"lora_unet_layers_layernorm": {"w_norm": torch.ones(9)}}, Code.MISFIT),
        ({"lora_unet_layers_layernorm": {"b_norm": torch.ones(1)}}, Code.MISFIT),
        ({"lora_unet_layers_linear": {"diff": torch.ones(1, 1)}}, Code.MISFIT),
        ({"lora_unet_layers_linear": lora(8, 12) | {"diff_b": torch.ones(12)}}, Code.MISFIT),
        ({"lora_unet_layers_linear": lora(8, 12) | {"dora_scale": torch.ones(5, 1)}}, Code.MISFIT),
        ({"lora_unet_layers_linear": lora(8, 12) | {"dora_scale": torch.ones(1, 8)}}, Code.MISFIT),
        ({"lora_unet_layers_linear": lora(8, 12) | {"dora_scale": torch.ones(1, 1)}}, Code.MISFIT),
        ({"lora_unet_layers_linear": lora(8, 12), "unet.layers.linear": lora(8, 12)}, Code.DUPLICATE),
        ({"lora_unet_layers_linear": lora(8, 12), "bare.layers.linear": lora(8, 12)}, Code.NO_MODULE),
    ],
)
def test_misfits_are_refused_and_named(layers: dict[str, zoo.Tensors], code: Code) -> None:
    fine = {"lora_unet_layers_square": lora(8, 8)}
    for components in (UNET, {"unet": SHAPES}):
        with pytest.raises(NoPlace) as caught:
            inspect(zoo.file(layers | fine), components)
        assert codes(caught.value) == [code], caught.value
        assert "square" not in str(caught.value)


@pytest.mark.parametrize(
    ("layers", "kind"),
    [
        ({"x": lora(8, 4)}, "conv1x1"),  # SD 2's linear proj_in on SD 1's 1×1 convolution
        ({"x": lora(8, 12, 1, 1)}, "linear"),  # and the other way round
        ({"x": {"diff": torch.ones(8, 12, 1, 1)}}, "linear"),
        ({"x": {"diff": torch.ones(8, 36)}}, "conv3x3"),
    ],
)
def test_a_1x1_convolution_and_a_linear_layer_are_one_matrix(layers: dict[str, zoo.Tensors], kind: str) -> None:
    model = nn.ModuleDict({"x": zoo.layer(kind)})
    before = model["x"].get_parameter("weight").detach().clone()
    Patcher({"unet": model}).swap(
        [StackEntry(load(zoo.file({f"lora_unet_{name}": group for name, group in layers.items()})))]
    )
    expected = next(iter(layers.values())).get("diff", torch.full(before.shape, 2.0)).reshape(before.shape)
    assert_close(model["x"].get_parameter("weight"), before + expected, kind)


@pytest.mark.parametrize(
    ("implied", "target", "yes"),
    [
        ((8, 4), (8, 4), True),
        ((8, 4, 1, 1), (8, 4), True),
        ((8, 4), (8, 4, 1, 1), True),
        ((8, 36), (8, 4, 3, 3), True),
        ((8, 1), (8, 1, 1, 1), True),
        ((4, 8), (8, 4), False),
        ((8, 4, 3, 3), (8, 36), False),
        ((8, 12, 3), (8, 4, 3, 3), False),
        ((8,), (8, 1), False),
        ((8, 1), (8,), False),
        ((1, 1), (8, 4), False),
    ],
)
def test_what_fits(implied: tuple[int, ...], target: tuple[int, ...], yes: bool) -> None:
    assert fits(implied, target) is yes


BOMBS: dict[str, zoo.Tensors] = {
    "lora": lora(1_000_000, 1_000_000, rank=1),
    "loha": {f"hada_w{half}_a": torch.ones(500_000, 1) for half in (1, 2)}
    | {f"hada_w{half}_b": torch.ones(1, 500_000) for half in (1, 2)},
    "lokr": {"lokr_w1": torch.ones(1000, 1000), "lokr_w2": torch.ones(1000, 1000)},
    "tucker": {
        "lora_up.weight": torch.ones(200_000, 1, 1, 1),
        "lora_down.weight": torch.ones(1, 200_000, 1, 1),
        "lora_mid.weight": torch.ones(1, 1, 3, 3),
    },
    "dora": lora(1_000_000, 1_000_000, rank=1) | {"dora_scale": torch.ones(1_000_000, 1)},
    "rank": lora(8, 12, rank=50_000),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_before_any_product_is_formed(bomb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = zoo.file({"lora_unet_layers_linear": BOMBS[bomb]})

    def exploded(*_: object, **__: object) -> torch.Tensor:
        raise AssertionError("a product was formed")

    for name in ("__matmul__", "addmm_", "addcmul_"):
        monkeypatch.setattr(torch.Tensor, name, exploded)
    tracemalloc.start()
    with pytest.raises(NoPlace) as caught:
        inspect(data, UNET)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert codes(caught.value) == [Code.MISFIT]
    assert peak < 4 * len(data) + 2_000_000, f"{peak:,} bytes of Python memory for a file of {len(data):,}"


def test_two_spellings_of_one_module_are_two_layers_on_one_weight() -> None:
    for first, second in (
        ("lora_unet_x", "unet.x"),
        ("lora_unet_x", "x"),
        ("unet.x", "x"),
        ("lora_unet_x", "lora_transformer_x"),
    ):
        components = {"transformer" if "transformer" in second else "unet": {"x.weight": [8, 12]}}
        inspect(zoo.file({first: lora(8, 12)}), components)
        inspect(zoo.file({second: lora(8, 12)}), components)
        with pytest.raises(NoPlace) as caught:
            inspect(zoo.file({first: lora(8, 12), second: {"diff": torch.ones(8, 12)}}), components)
        assert codes(caught.value) == [Code.DUPLICATE]


def test_a_change_to_a_bias_that_is_not_there_is_refused() -> None:
    model = nn.ModuleDict({"x": nn.Linear(12, 8, bias=False)})
    with pytest.raises(NoPlace) as caught:
        inspect(zoo.file({"lora_unet_x": lora(8, 12) | {"diff_b": torch.ones(8)}}), {"unet": model})
    assert codes(caught.value) == [Code.NO_BIAS]


def test_a_name_that_fits_two_modules_is_refused() -> None:
    model = nn.ModuleDict({"a_b": zoo.layer("linear"), "a": nn.ModuleDict({"b": zoo.layer("linear")})})
    for name in ("lora_unet_a_b", "lora_unet_a_b_"):  # the module's own name, which no other one's shadows
        (target,) = resolve(load(zoo.file({name: lora(8, 12)})), {"unet": model}).targets
        assert target.parameter == "a_b.weight"
    two = nn.ModuleDict(
        {"a": nn.ModuleDict({"b_c": zoo.layer("linear")}), "a_b": nn.ModuleDict({"c": zoo.layer("linear")})}
    )
    with pytest.raises(NoPlace) as caught:
        resolve(load(zoo.file({"lora_unet_a_b_c": lora(8, 12)})), {"unet": two})
    assert codes(caught.value) == [Code.AMBIGUOUS]
    for component in ("unet", "text_encoder"):
        dotted = load(zoo.file({f"{component}.a.b_c": lora(8, 12)}))
        assert resolve(dotted, {component: two}).targets[0].parameter == "a.b_c.weight"


def test_a_bare_name_is_looked_for_in_every_component() -> None:
    components = {
        "unet": nn.ModuleDict({"x": zoo.layer("linear")}),
        "text_encoder": nn.ModuleDict({"y": zoo.layer("linear")}),
    }
    data = zoo.file({"y": lora(8, 12)})
    assert inspect(data, components).components == {"text_encoder": 1}
    with pytest.raises(NoPlace) as caught:
        inspect(data, components | {"text_encoder_2": components["text_encoder"]})
    assert codes(caught.value) == [Code.AMBIGUOUS]


def test_kohyas_unet_may_be_a_transformer() -> None:
    data = zoo.file({"lora_unet_layers_linear": lora(8, 12), "lycoris_layers_square": lora(8, 8)})
    assert inspect(data, {"transformer": SHAPES}).components == {"transformer": 2}
    assert inspect(data).components == {"unet": 2}


@pytest.mark.parametrize("model", ["encoder.layers.0.fc1", "text_model.encoder.layers.0.fc1"])
@pytest.mark.parametrize(
    "file",
    [
        "lora_te_text_model_encoder_layers_0_fc1",
        "lora_te1_encoder_layers_0_fc1",
        "text_encoder.text_model.encoder.layers.0.fc1",
        "text_encoder.encoder.layers.0.fc1",
    ],
)
def test_both_spellings_of_clip(model: str, file: str) -> None:
    shapes = {"text_encoder": {f"{model}.weight": [8, 12]}}
    assert inspect(zoo.file({file: lora(8, 12)}), shapes).resolved == 1


def test_a_refusal_names_what_is_wrong_with_the_file_and_with_the_fit() -> None:
    layers = {
        "lora_unet_layers_nowhere": lora(8, 12),
        "lora_unet_x": {"lora_up.weight": torch.ones(8, 2)},
        "y": {"z": torch.ones(1)},
    }
    with pytest.raises(AdapterError) as caught:
        inspect(zoo.file(layers), UNET)
    assert sorted(codes(caught.value)) == [Code.INCOMPLETE, Code.NO_MODULE, Code.UNKNOWN_TENSOR]
    assert caught.value.as_dict()["error"] == "FileRefused"


def test_resolving_touches_nothing() -> None:
    before = bits_of(MODEL)
    for data in zoo.adapters(MODEL, 3):
        inspect(data, UNET)
    assert bits_of(MODEL) == before


def test_doubts_are_told() -> None:
    tensors = lora(8, 8) | {"dora_scale": torch.full((8,), -1.0), "alpha": torch.tensor(-2.0)}
    warnings = " ".join(inspect(zoo.file({"lora_unet_layers_square": tensors}), UNET).warnings)
    assert "taken per output" in warnings
    assert "not positive" in warnings
    assert "alpha is negative" in warnings


def test_the_verdict_of_a_strangers_metadata() -> None:
    metadata = {
        "ss_output_name": "na\x1bme" * 1000,
        "ss_tag_frequency": json.dumps(
            {"1_a": {"cat": 3, "<b>dog</b>": 4, "x\x00": 2, "seldom": 1, "no": "7"}, "2_b": {"cat": 2, "": 9}}
        ),
        "modelspec.title": "A title",
        "something_else": "unread",
    }
    verdict = inspect(safetensors.torch.save({"lora_unet_x.diff": torch.ones(2, 2)}, metadata))
    assert verdict.triggers == ("cat", "<b>dog</b>", "x\\x00")
    # A folder with a caption of its own for every picture has no trigger words.
    captions = {f"picture {k}": 1 for k in range(40)}
    of_own = {"ss_tag_frequency": json.dumps({"1_a": captions, "2_b": {"sks": 20} | captions})}
    assert triggers(of_own) == ("sks",)
    assert verdict.metadata["modelspec.title"] == "A title"
    assert len(verdict.metadata["ss_output_name"]) <= 500
    assert "\x1b" not in verdict.metadata["ss_output_name"]
    assert "something_else" not in verdict.metadata
    assert verdict.resolved is None
    for broken in ("{", "[1]", '{"a": 3}', '{"a":' * 50_000, json.dumps({"a": {"b": True}})):
        data = safetensors.torch.save({"lora_unet_x.diff": torch.ones(2, 2)}, {"ss_tag_frequency": broken})
        assert inspect(data).triggers == ()
