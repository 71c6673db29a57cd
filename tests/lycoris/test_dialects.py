"""Names: every spelling of a tensor's name leads to one place, and only the model's own paths are looked up."""

import pytest

from lycoris.dialects import DIALECTS
from lycoris.dialects.place import Place
from lycoris.dialects.spellings import spellings

UNET, TE, TE2 = ("unet", "transformer", "prior"), ("text_encoder",), ("text_encoder_2",)
BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
FLAT = BLOCK.replace(".", "_")
CLIP = "text_model.encoder.layers.3.self_attn"

NAMES: dict[str, Place | None] = {
    f"lora_unet_{FLAT}_to_q.lora_up.weight": Place(UNET, f"{FLAT}_to_q", "lora_up.weight"),
    f"lora_unet_{FLAT}_to_q.lora_down.weight": Place(UNET, f"{FLAT}_to_q", "lora_down.weight"),
    f"lora_unet_{FLAT}_to_q.lora_mid.weight": Place(UNET, f"{FLAT}_to_q", "lora_mid.weight"),
    f"lora_unet_{FLAT}_to_q.alpha": Place(UNET, f"{FLAT}_to_q", "alpha"),
    "lora_unet_conv_in.hada_w1_a": Place(UNET, "conv_in", "hada_w1_a"),
    "lora_unet_conv_in.lokr_w2_b": Place(UNET, "conv_in", "lokr_w2_b"),
    "lora_unet_conv_in.lokr_t2": Place(UNET, "conv_in", "lokr_t2"),
    "lora_unet_conv_in.dora_scale": Place(UNET, "conv_in", "dora_scale"),
    "lora_unet_conv_norm_out.w_norm": Place(UNET, "conv_norm_out", "w_norm"),
    "lora_unet_conv_in.diff_b": Place(UNET, "conv_in", "diff_b"),
    "lora_te_text_model_encoder_layers_3_mlp_fc1.diff": Place(TE, "text_model_encoder_layers_3_mlp_fc1", "diff"),
    "lora_te1_text_model_final_layer_norm.b_norm": Place(TE, "text_model_final_layer_norm", "b_norm"),
    "lora_te2_text_projection.lora_up.weight": Place(TE2, "text_projection", "lora_up.weight"),
    "lora_te3_encoder_block_0.alpha": Place(("text_encoder_3",), "encoder_block_0", "alpha"),
    "lora_transformer_x_embedder.alpha": Place(("transformer",), "x_embedder", "alpha"),
    f"lycoris_{FLAT}_to_q.lokr_w1": Place(UNET, f"{FLAT}_to_q", "lokr_w1"),
    f"unet.{BLOCK}.to_q.lora_A.weight": Place(("unet",), f"{BLOCK}.to_q", "lora_down.weight"),
    f"unet.{BLOCK}.to_q.lora_B.weight": Place(("unet",), f"{BLOCK}.to_q", "lora_up.weight"),
    f"unet.{BLOCK}.to_q.lora_A.default.weight": Place(("unet",), f"{BLOCK}.to_q", "lora_down.weight"),
    f"unet.{BLOCK}.to_q.lora_B.bias": Place(("unet",), f"{BLOCK}.to_q", "lora_B.bias"),
    f"unet.{BLOCK}.to_q.lora_A": Place(("unet",), f"{BLOCK}.to_q", "lora_down.weight"),
    f"unet.{BLOCK}.to_q.lora.up.weight": Place(("unet",), f"{BLOCK}.to_q", "lora_up.weight"),
    f"unet.{BLOCK}.to_q.lora_linear_layer.down.weight": Place(("unet",), f"{BLOCK}.to_q", "lora_down.weight"),
    f"unet.{BLOCK}.processor.to_q_lora.up.weight": Place(("unet",), f"{BLOCK}.to_q", "lora_up.weight"),
    f"unet.{BLOCK}.processor.to_out_lora.down.weight": Place(("unet",), f"{BLOCK}.to_out.0", "lora_down.weight"),
    f"{BLOCK}.processor.to_v_lora.up.weight": Place((), f"{BLOCK}.to_v", "lora_up.weight"),
    f"unet.base_model.model.{BLOCK}.to_q.lora_A.weight": Place(("unet",), f"{BLOCK}.to_q", "lora_down.weight"),
    f"base_model.model.{BLOCK}.to_q.lora_A.weight": Place((), f"{BLOCK}.to_q", "lora_down.weight"),
    f"base_model.model.unet.{BLOCK}.to_q.hada_w2_b": Place(("unet",), f"{BLOCK}.to_q", "hada_w2_b"),
    f"base_model.model.{BLOCK}.to_q.hada_w1_a.default": Place((), f"{BLOCK}.to_q", "hada_w1_a"),
    f"unet.{BLOCK}.to_q.lora_magnitude_vector": Place(("unet",), f"{BLOCK}.to_q", "lora_magnitude_vector"),
    f"unet.{BLOCK}.to_q.lora_magnitude_vector.weight": Place(("unet",), f"{BLOCK}.to_q", "lora_magnitude_vector"),
    f"unet.{BLOCK}.to_q.lora_magnitude_vector.style.weight": Place(("unet",), f"{BLOCK}.to_q", "lora_magnitude_vector"),
    f"transformer.{BLOCK}.to_q.magnitude": Place(("transformer",), f"{BLOCK}.to_q", "lora_magnitude_vector"),
    f"text_encoder.{CLIP}.q_proj.lora_A.weight": Place(TE, f"{CLIP}.q_proj", "lora_down.weight"),
    f"text_encoder.{CLIP}.to_q_lora.up.weight": Place(TE, f"{CLIP}.q_proj", "lora_up.weight"),
    f"text_encoder_2.{CLIP}.to_out_lora.down.weight": Place(TE2, f"{CLIP}.out_proj", "lora_down.weight"),
    f"text_encoder.{CLIP}.q_proj.lora_linear_layer.up.weight": Place(TE, f"{CLIP}.q_proj", "lora_up.weight"),
    # nothing reads these
    "lora_unet_conv_in.weight": None,
    "lora_unet_conv_in.oft_blocks": None,
    "lora_unet_conv_in.lora_up": None,
    "lora_unet_conv_in": None,
    "bundle_emb.style.string_to_param.*": None,
    "unet.conv_in.lora_C.weight": None,
    "alpha": None,
    "": None,
}


@pytest.mark.parametrize("name", NAMES)
def test_places(name: str) -> None:
    assert next((place for dialect in DIALECTS if (place := dialect(name))), None) == NAMES[name]


@pytest.mark.parametrize(
    ("component", "path", "more"),
    [
        ("unet", "conv_in", set()),
        ("unet", "a.b_c.0", {"a_b_c_0"}),
        ("unet", "attn1.to_out.0", {"attn1_to_out_0", "attn1.to_out", "attn1_to_out"}),
        ("text_encoder", "encoder.x", {"encoder_x", "text_model.encoder.x", "text_model_encoder_x"}),
        ("text_encoder_2", "text_model.encoder.x", {"text_model_encoder_x", "encoder.x", "encoder_x"}),
    ],
)
def test_spellings_are_made_from_the_models_own_path(component: str, path: str, more: set[str]) -> None:
    assert spellings(component, path) == {path} | more
