"""Where a change lies: shares add up, sizes are those of the live model's change, names of every kind are known."""

import math
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from lycoris import load
from lycoris.files.model_folder import variants_of
from lycoris.tools.anatomy import Anatomy, ParameterChange, anatomy, reading, table
from lycoris.tools.chart import COLOURS, chart
from lycoris.tools.kinds import KINDS, block_of, kind_of, order_of
from tests.lycoris import zoo
from tests.lycoris.placement.test_views import LINEAR1, flux
from tests.lycoris.tools.folders import Encoder, changes, patched, write
from tests.tolerances import RELATIVE

SVG = "{http://www.w3.org/2000/svg}"
NAMES = {  # component, path, axes of the weight: kind, block
    ("unet", "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", 2): ("attention", "down_blocks.1"),
    ("unet", "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0", 2): ("attention", "down_blocks.1"),
    ("unet", "mid_block.attentions.0.proj_in", 4): ("attention", "mid_block"),
    ("unet", "up_blocks.2.attentions.1.transformer_blocks.0.ff.net.0.proj", 2): ("feed-forward", "up_blocks.2"),
    ("unet", "up_blocks.2.attentions.1.transformer_blocks.0.norm2", 1): ("norm", "up_blocks.2"),
    ("unet", "up_blocks.2.resnets.0.conv1", 4): ("convolution", "up_blocks.2"),
    ("unet", "up_blocks.2.resnets.0.conv_shortcut", 4): ("convolution", "up_blocks.2"),
    ("unet", "up_blocks.2.resnets.0.time_emb_proj", 2): ("other", "up_blocks.2"),
    ("unet", "down_blocks.0.downsamplers.0.conv", 4): ("convolution", "down_blocks.0"),
    ("unet", "conv_in", 4): ("convolution", "elsewhere"),
    ("unet", "time_embedding.linear_1", 2): ("other", "elsewhere"),
    ("unet", "input_blocks_4_1_transformer_blocks_0_attn1_to_q", 2): ("attention", "input_blocks.4"),
    ("unet", "input_blocks_4_1_proj_in", 2): ("attention", "input_blocks.4"),
    ("unet", "input_blocks_4_0_in_layers_2", 4): ("convolution", "input_blocks.4"),
    ("unet", "middle_block_1_transformer_blocks_0_ff_net_2", 2): ("feed-forward", "middle_block"),
    ("unet", "output_blocks_11_0_emb_layers_1", 2): ("other", "output_blocks.11"),
    ("transformer", "transformer_blocks.3.attn.add_q_proj", 2): ("attention", "transformer_blocks.3"),
    ("transformer", "transformer_blocks.3.ff_context.net.2", 2): ("feed-forward", "transformer_blocks.3"),
    ("transformer", "transformer_blocks.3.norm1.linear", 2): ("other", "transformer_blocks.3"),
    ("transformer", "transformer_blocks.3.attn.norm_q", 1): ("norm", "transformer_blocks.3"),
    ("unet", "double_blocks_7_img_attn_qkv", 2): ("attention", "double_blocks.7"),
    ("unet", "double_blocks_7_txt_mlp_0", 2): ("feed-forward", "double_blocks.7"),
    ("unet", "double_blocks_7_img_mod_lin", 2): ("other", "double_blocks.7"),
    ("unet", "single_blocks_30_linear1", 2): ("feed-forward", "single_blocks.30"),
    ("text_encoder", "encoder.layers.0.self_attn.q_proj", 2): ("text encoder", "text_encoder"),
    ("text_encoder_2", "text_model_encoder_layers_0_mlp_fc1", 2): ("text encoder", "text_encoder_2"),
    ("", "layers.3.attention.to_k", 2): ("attention", "layers.3"),
}


@pytest.mark.parametrize(("component", "path", "axes"), NAMES)
def test_names(component: str, path: str, axes: int) -> None:
    found = (kind_of(component, path, axes), block_of(component, path))
    assert found == NAMES[component, path, axes]


def test_blocks_are_in_the_order_of_the_model() -> None:
    order = ["text_encoder", "down_blocks.2", "down_blocks.10", "mid_block", "up_blocks.0", "layers.3", "elsewhere"]
    mixed = [order[place] for place in (6, 2, 4, 0, 5, 1, 3)]
    assert sorted(mixed, key=order_of) == order


@pytest.mark.parametrize("seed", range(3))
def test_sizes_are_those_of_the_live_change_and_shares_add_up(seed: int, tmp_path: Path) -> None:
    components: dict[str, nn.Module] = {"unet": zoo.Model(), "text_encoder": Encoder()}
    variants = variants_of(write(tmp_path / "base", components, shards=2))
    adapter = load(list(zoo.adapters(zoo.Model(), seed + 1))[seed])
    found = anatomy(adapter, variants)
    expected = changes(components, adapter)
    assert {part.name for part in found.parts} <= expected.keys()
    bare = patched(components)
    for part in found.parts:
        size, weight = float(expected[part.name].double().norm()), float(bare[part.name].double().norm())
        assert math.isclose(math.sqrt(part.square), size, rel_tol=10 * RELATIVE["float32"]), part.name
        assert part.weight_square is not None
        assert math.isclose(math.sqrt(part.weight_square), weight, rel_tol=RELATIVE["float32"])
    for key in (lambda part: part.kind, lambda part: part.block, lambda part: (part.kind, part.block)):
        assert math.isclose(sum(found.shares(key).values()), 1, rel_tol=RELATIVE["float64"])
    assert not found.unsized


def test_without_a_model_what_leans_on_it_is_left_out_and_named(tmp_path: Path) -> None:
    components: dict[str, nn.Module] = {"unet": zoo.Model()}
    layers = {f"lora_unet_layers_{kind}": zoo.tensors("lora", torch.empty(8, 8)) for kind in ("square",)}
    layers["lora_unet_layers_linear"] = zoo.tensors("dora-lora-output", torch.empty(8, 12))
    adapter = load(zoo.file(layers))
    alone, on = anatomy(adapter), anatomy(adapter, variants_of(write(tmp_path / "base", components)))
    assert alone.unsized == ("unet.layers_linear",)
    assert "without --model" in "\n".join(table(alone))
    squares = {part.name.replace("layers_", "layers."): part.square for part in alone.parts}
    (part,) = (part for part in on.parts if "square" in part.name)
    assert math.isclose(squares[part.name], part.square, rel_tol=RELATIVE["float32"])
    assert alone.relative() is None


def test_a_small_file_cannot_ask_for_much_memory() -> None:
    wide = {"lora_up.weight": torch.ones(1 << 16, 1), "lora_down.weight": torch.ones(1, 1 << 16)}  # 17 GB in float32
    found = anatomy(load(zoo.file({"lora_unet_layers_linear": wide})))
    assert found.unsized == ("unet.layers_linear",)
    assert found.parts == ()
    assert "Nothing." in list(table(found))
    ElementTree.fromstring(chart(found, "nothing"))


def test_a_fused_layer_is_measured_module_by_module(tmp_path: Path) -> None:
    variants = variants_of(write(tmp_path / "base", {"transformer": flux(torch.float32)}))
    found = anatomy(load(zoo.file({LINEAR1: zoo.tensors("loha", torch.empty(24, 12))})), variants)
    assert found.kinds == ["attention", "feed-forward"]
    assert found.blocks == ["single_transformer_blocks.0"]


def _made(**squares: float) -> Anatomy:
    names = {kind.replace(" ", "_").replace("-", "_"): kind for kind in KINDS}
    return Anatomy(
        tuple(ParameterChange(name, "mid_block", names[name], square, None) for name, square in squares.items()), ()
    )


def test_readings() -> None:
    assert "leans to composition" in reading(_made(attention=8, convolution=1))
    assert "leans to texture" in reading(_made(attention=1, convolution=8))
    assert "leans to neither side" in reading(_made(attention=1, feed_forward=1, convolution=2))
    assert "No convolution" in reading(_made(attention=1, norm=1))
    assert "Only the text encoder" in reading(_made(text_encoder=1))


def test_the_chart_is_sound_and_says_every_number() -> None:
    made = _made(attention=6, convolution=3, text_encoder=1)
    hostile = ParameterChange("x", '</text><script>alert("x")</script>', "other", 2.0, None)
    found = Anatomy((*made.parts, hostile), ())
    tree = ElementTree.fromstring(chart(found, "<b>&amp;\"'"))
    assert tree.tag == f"{SVG}svg"
    assert tree.get("role") == "img"
    assert not list(tree.iter(f"{SVG}script"))
    assert tree.findtext(f"{SVG}title") == "<b>&amp;\"'"
    described = tree.findtext(f"{SVG}desc") or ""
    assert "attention 50%" in described
    texts = {text.text for text in tree.iter(f"{SVG}text")}
    assert {"attention 50%", "convolution 25%", "text encoder 8%", hostile.block, "16.7%"} <= texts
    bars = [bar for bar in tree.iter(f"{SVG}rect") if bar.find(f"{SVG}title") is not None]
    assert len(bars) == 4
    assert {bar.get("fill") for bar in bars} <= set(COLOURS.values())
    assert set(COLOURS) == set(KINDS)
