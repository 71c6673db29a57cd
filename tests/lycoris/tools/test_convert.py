"""Other names, the same changes, there and back; and diffusers' own loader on the names that are meant for it."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from lycoris import Adapter, Code, Index, load
from lycoris.dialects import flat
from lycoris.errors import ToolRefused
from lycoris.placement.shapes import Shapes
from lycoris.placement.views import view
from lycoris.tools.convert import convert
from lycoris.tools.names import KOHYA_ENCODER_PREFIXES, KOHYA_PREFIXES, Namer, Style
from tests.lycoris import zoo
from tests.lycoris.keys.models import MODELS, model
from tests.lycoris.measure import assert_close, bits
from tests.lycoris.placement.test_views import LINEAR1, MLP, QKV, ROWS, flux
from tests.lycoris.tools.folders import Encoder, changes

STYLES: tuple[Style, ...] = ("kohya", "diffusers")
FC1 = "text_model_encoder_layers_0_mlp_fc1"
T5_Q = "encoder_block_0_layer_0_SelfAttention_q"
PATH = "text_model_encoder_layers_0_self_attn_q_proj"


def shapes(components: dict[str, nn.Module]) -> dict[str, Shapes]:
    return {name: {key: tuple(p.shape) for key, p in part.named_parameters()} for name, part in components.items()}


def again(adapter: Adapter, components: dict[str, nn.Module], style: Style, folder: Path) -> Adapter:
    """Return the adapter, converted, written and read."""
    draft, _ = convert(adapter, shapes(components), style)
    draft.write(folder / f"{style}.safetensors", force=True, components=shapes(components))
    return load(folder / f"{style}.safetensors")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("algorithm", zoo.ALGORITHMS)
def test_every_algorithm_keeps_its_change(algorithm: str, style: Style, tmp_path: Path) -> None:
    kinds = zoo.ALGORITHMS[algorithm][1]
    components: dict[str, nn.Module] = {"unet": zoo.Model()}
    layers = {
        f"lora_unet_layers_{kind}": zoo.tensors(algorithm, components["unet"].get_parameter(f"layers.{kind}.weight"))
        for kind in kinds
    }
    adapter = load(zoo.file(layers))
    before = changes(components, adapter)
    there = again(adapter, components, style, tmp_path)
    other: Style = "kohya" if style == "diffusers" else "diffusers"
    back = again(there, components, other, tmp_path)
    for what, found in ((style, there), (f"{style} and back", back)):
        after = changes(components, found)
        for name, change in before.items():
            assert_close(after[name], change, f"{algorithm}, {what}, {name}", torch.float32)


def test_names(tmp_path: Path) -> None:
    components: dict[str, nn.Module] = {"unet": zoo.Model(), "text_encoder": Encoder()}
    file = {
        "lora_unet_layers_linear": zoo.tensors("lora", torch.empty(8, 12)),
        f"lora_te_{PATH}": zoo.tensors("lora", torch.empty(8, 8)),
    }
    adapter = load(zoo.file(file, {"modelspec.title": "T", "lycoris_history": "earlier", "sshs_model_hash": "stale"}))
    names = {style: set(convert(adapter, shapes(components), style)[0].tensors) for style in STYLES}
    suffixes = ("lora_up.weight", "lora_down.weight", "alpha")
    assert names["kohya"] == {f"{module}.{suffix}" for module in file for suffix in suffixes}
    dotted = ("unet.layers.linear", "text_encoder.text_model.encoder.layers.0.self_attn.q_proj")
    assert names["diffusers"] == {f"{path}.lora_{ab}.weight" for path in dotted for ab in "AB"}
    metadata = again(adapter, components, "kohya", tmp_path).metadata
    assert metadata["modelspec.title"] == "T"
    assert metadata["lycoris_history"].splitlines()[0] == "earlier"
    assert adapter.sha256 in metadata["lycoris_history"].splitlines()[1]
    assert "sshs_model_hash" not in metadata
    components |= {"text_encoder_2": Encoder()}
    assert any(name.startswith("lora_te1_") for name in convert(adapter, shapes(components), "kohya")[0].tensors)


def test_what_is_kohyas_already_stays_bit_for_bit(tmp_path: Path) -> None:
    components: dict[str, nn.Module] = {"unet": zoo.Model(torch.float16)}
    group = {name: tensor.half() for name, tensor in zoo.tensors("lora", torch.empty(8, 12)).items()}
    stored = safetensors.torch.load(zoo.file({"lora_unet_layers_linear": group}))
    draft, _ = convert(load(safetensors.torch.save(stored)), shapes(components), "kohya")
    assert all(bits(draft.tensors[name]) == bits(tensor) for name, tensor in stored.items() if "alpha" not in name)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("algorithm", ["lora", "lora-with-bias", "lora-peft-bias", "full"])
@pytest.mark.parametrize("layer", [LINEAR1, QKV])
def test_a_fused_layer_is_divided_exactly(algorithm: str, layer: str, style: Style, tmp_path: Path) -> None:
    components: dict[str, nn.Module] = {"transformer": flux(torch.float32)}
    rows = 24 if layer == LINEAR1 else 16
    adapter = load(zoo.file({layer: zoo.tensors(algorithm, torch.empty(rows, 12))}))
    before, after = changes(components, adapter), changes(components, again(adapter, components, style, tmp_path))
    for name, change in before.items():
        assert_close(after[name], change, name, torch.float32)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("algorithm", ["lora", "full"])
def test_halves_the_other_way_round_are_put_in_order(algorithm: str, style: Style, tmp_path: Path) -> None:
    components: dict[str, nn.Module] = {"transformer": flux(torch.float32)}
    names = {"kohya": "lora_unet_final_layer_adaLN_modulation_1", "diffusers": "transformer.norm_out.linear"}
    (other,) = set(STYLES) - {style}
    adapter = load(zoo.file({names[other]: zoo.tensors(algorithm, torch.empty(16, 12))}))
    draft, notes = convert(adapter, shapes(components), style)
    assert all(name.startswith(f"{names[style]}.") for name in draft.tensors)
    assert not [note for note in notes if "side by side" in note]
    converted = again(adapter, components, style, tmp_path)
    assert converted.ranks == adapter.ranks, "a rank for each half"
    before, after = changes(components, adapter), changes(components, converted)
    weight = "transformer.norm_out.linear.weight"
    assert_close(after[weight], before[weight], names[other], torch.float32)


def test_what_cannot_be_divided_is_refused() -> None:
    cases: tuple[tuple[str, Style], ...] = ((LINEAR1, "diffusers"), (QKV, "kohya"))
    for layer, style in cases:
        adapter = load(zoo.file({layer: zoo.tensors("loha", torch.empty(24 if layer == LINEAR1 else 16, 12))}))
        with pytest.raises(ToolRefused) as refusal:
            convert(adapter, shapes({"transformer": flux()}), style)
        assert [reason.code for reason in refusal.value.reasons] == [Code.NO_FORM]


@pytest.mark.parametrize(
    "algorithm", ["lora", "loha", "lokr-whole", "dora-lora-output", "oft-split", "ia3-input", "full"]
)
def test_a_layer_of_kohyas_stays_what_it_is_under_kohyas_names(algorithm: str) -> None:
    stored = safetensors.torch.load(zoo.file({LINEAR1: zoo.tensors(algorithm, torch.empty(24, 12))}))
    draft, notes = convert(load(safetensors.torch.save(stored)), shapes({"transformer": flux()}), "kohya")
    assert {name: bits(tensor) for name, tensor in draft.tensors.items()} == {
        name: bits(tensor) for name, tensor in stored.items()
    }
    assert notes == []


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("algorithm", ["lora", "lora-with-bias", "full", "loha", "dora-lora-output", "lokr-low"])
def test_layers_that_kohya_has_as_one_are_joined_or_keep_their_names(
    algorithm: str, missing: bool, tmp_path: Path
) -> None:
    components: dict[str, nn.Module] = {"transformer": flux(torch.float32)}
    paths = [*ROWS, MLP][missing:]
    file = {
        f"transformer.{path}": zoo.tensors(algorithm, components["transformer"].get_parameter(f"{path}.weight"), seed)
        for seed, path in enumerate(paths)
    }
    adapter = load(zoo.file(file))
    draft, notes = convert(adapter, shapes(components), "kohya")
    modules = {name.partition(".")[0] for name in draft.tensors}
    if algorithm in ("lora", "lora-with-bias", "full"):
        assert modules == {LINEAR1}
        assert (notes != []) is (algorithm != "full")
    else:
        assert modules == {f"lora_transformer_{path.replace('.', '_')}" for path in paths}
        assert "cannot be joined" in notes[-1]
    before, after = changes(components, adapter), changes(components, again(adapter, components, "kohya", tmp_path))
    for name, change in before.items():
        assert_close(after[name], change, name, torch.float32)


# How kohya's scripts name a layer of a published model: model, parameter, name
KOHYAS = (
    ("sd1", "unet", "down_blocks.0.attentions.0.proj_in.weight", "lora_unet_down_blocks_0_attentions_0_proj_in"),
    ("sdxl", "unet", "down_blocks.1.attentions.0.proj_in.weight", "lora_unet_input_blocks_4_1_proj_in"),
    ("sdxl", "unet", "add_embedding.linear_1.weight", "lora_unet_label_emb_0_0"),
    ("sdxl", "text_encoder_2", "text_model.encoder.layers.0.mlp.fc1.weight", f"lora_te2_{FC1}"),
    ("flux1", "transformer", "transformer_blocks.3.attn.to_k.weight", "lora_unet_double_blocks_3_img_attn_qkv"),
    ("flux1", "transformer", "single_transformer_blocks.0.proj_mlp.weight", "lora_unet_single_blocks_0_linear1"),
    ("flux1", "transformer", "norm_out.linear.weight", "lora_unet_final_layer_adaLN_modulation_1"),
    ("flux1", "text_encoder_2", "encoder.block.0.layer.0.SelfAttention.q.weight", f"lora_te3_{T5_Q}"),
    (
        "sd3.5-medium",
        "transformer",
        "transformer_blocks.0.attn.to_q.weight",
        "lora_unet_joint_blocks_0_x_block_attn_qkv",
    ),
    ("z-image", "transformer", "layers.0.feed_forward.w1.weight", "lora_unet_layers_0_feed_forward_w1"),
    ("qwen-image", "transformer", "transformer_blocks.0.attn.to_q.weight", "lora_unet_transformer_blocks_0_attn_to_q"),
    ("wan", "transformer", "blocks.0.attn1.to_q.weight", "lora_unet_blocks_0_self_attn_q"),
    ("hunyuan-video", "transformer", "transformer_blocks.0.ff.net.2.weight", "lora_unet_double_blocks_0_img_mlp_fc2"),
    ("krea2", "transformer", "transformer_blocks.0.attn.to_gate.weight", "lora_unet_blocks_0_attn_gate"),
)


@pytest.mark.parametrize(("name", "component", "parameter", "expected"), KOHYAS)
def test_kohyas_names(name: str, component: str, parameter: str, expected: str) -> None:
    assert Namer("kohya", Index(model(name)).shapes).layer(component, parameter).name == expected


@pytest.mark.slow
def test_kohyas_names_of_every_model_are_read_as_the_same_rows() -> None:
    for name in MODELS:
        index = Index(model(name))
        namer = Namer("kohya", index.shapes)
        for component in set(index.shapes) & (KOHYA_PREFIXES | KOHYA_ENCODER_PREFIXES).keys():
            for parameter in index.shapes[component]:
                layer = namer.layer(component, parameter)
                if layer.kind == "weight":
                    parsed = flat.parse(f"{layer.name}.diff")
                    assert parsed is not None
                    meant = {
                        view(parts, "weight", index.shapes[component])
                        for part in parsed.components
                        if part in index.shapes
                        for parts in index.modules[part].get(parsed.module, ())
                    }
                    assert {seen and seen.rows for seen in meant} == {layer.rows}, f"{name}: {layer.name}"


def test_parts_without_a_name_are_refused() -> None:
    components: dict[str, nn.Module] = {"vae": zoo.Model()}
    adapter = load(zoo.file({"layers.linear": zoo.tensors("lora", torch.empty(8, 12))}))
    for style in STYLES:
        with pytest.raises(ToolRefused, match="no names for layers of this component"):
            convert(adapter, shapes(components), style)
