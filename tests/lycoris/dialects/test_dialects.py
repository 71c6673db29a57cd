"""Names: every spelling of a tensor's name leads to one place, and only the model's own paths are looked up."""

import pytest

from lycoris.dialects import DIALECTS
from lycoris.dialects.aliases import aliases
from lycoris.dialects.embeddings import Embedding, embedding_of
from lycoris.dialects.parsed_name import ParsedName
from lycoris.dialects.row_slice import RowSlice

UNET, TE, TE2 = ("unet", "transformer", "prior"), ("text_encoder",), ("text_encoder_2",)
T5, CLIP_G = ("text_encoder_3", "text_encoder_2", "text_encoder"), ("text_encoder_2", "text_encoder")
LLAMA, DOTTED_UNET = ("text_encoder_4", "text_encoder"), ("unet", "prior")
BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
FLAT_PREFIXES = BLOCK.replace(".", "_")
CLIP = "text_model.encoder.layers.3.self_attn"

NAMES: dict[str, ParsedName | None] = {
    f"lora_unet_{FLAT_PREFIXES}_to_q.lora_up.weight": ParsedName(UNET, f"{FLAT_PREFIXES}_to_q", "lora_up.weight"),
    f"lora_unet_{FLAT_PREFIXES}_to_q.lora_down.weight": ParsedName(UNET, f"{FLAT_PREFIXES}_to_q", "lora_down.weight"),
    f"lora_unet_{FLAT_PREFIXES}_to_q.lora_mid.weight": ParsedName(UNET, f"{FLAT_PREFIXES}_to_q", "lora_mid.weight"),
    f"lora_unet_{FLAT_PREFIXES}_to_q.alpha": ParsedName(UNET, f"{FLAT_PREFIXES}_to_q", "alpha"),
    "lora_unet_conv_in.hada_w1_a": ParsedName(UNET, "conv_in", "hada_w1_a"),
    "lora_unet_conv_in.lokr_w2_b": ParsedName(UNET, "conv_in", "lokr_w2_b"),
    "lora_unet_conv_in.lokr_t2": ParsedName(UNET, "conv_in", "lokr_t2"),
    "lora_unet_conv_in.dora_scale": ParsedName(UNET, "conv_in", "dora_scale"),
    "lora_unet_conv_norm_out.w_norm": ParsedName(UNET, "conv_norm_out", "w_norm"),
    "lora_unet_conv_in.diff_b": ParsedName(UNET, "conv_in", "diff_b"),
    "lora_te_text_model_encoder_layers_3_mlp_fc1.diff": ParsedName(TE, "text_model_encoder_layers_3_mlp_fc1", "diff"),
    "lora_te1_text_model_final_layer_norm.b_norm": ParsedName(TE, "text_model_final_layer_norm", "b_norm"),
    "lora_te2_text_projection.lora_up.weight": ParsedName(TE2, "text_projection", "lora_up.weight"),
    "lora_te3_encoder_block_0.alpha": ParsedName(T5, "encoder_block_0", "alpha"),
    "lora_transformer_x_embedder.alpha": ParsedName(("transformer",), "x_embedder", "alpha"),
    f"lycoris_{FLAT_PREFIXES}_to_q.lokr_w1": ParsedName(UNET, f"{FLAT_PREFIXES}_to_q", "lokr_w1"),
    f"unet.{BLOCK}.to_q.lora_A.weight": ParsedName(DOTTED_UNET, f"{BLOCK}.to_q", "lora_down.weight"),
    f"unet.{BLOCK}.to_q.lora_B.weight": ParsedName(DOTTED_UNET, f"{BLOCK}.to_q", "lora_up.weight"),
    f"unet.{BLOCK}.to_q.lora_A.default.weight": ParsedName(DOTTED_UNET, f"{BLOCK}.to_q", "lora_down.weight"),
    f"unet.{BLOCK}.to_q.lora_B.bias": ParsedName(DOTTED_UNET, f"{BLOCK}.to_q", "lora_B.bias"),
    f"unet.{BLOCK}.to_q.lora_A": ParsedName(DOTTED_UNET, f"{BLOCK}.to_q", "lora_down.weight"),
    f"unet.{BLOCK}.to_q.lora.up.weight": ParsedName(DOTTED_UNET, f"{BLOCK}.to_q", "lora_up.weight"),
    f"unet.{BLOCK}.to_q.lora_linear_layer.down.weight": ParsedName(DOTTED_UNET, f"{BLOCK}.to_q", "lora_down.weight"),
    f"unet.{BLOCK}.processor.to_q_lora.up.weight": ParsedName(DOTTED_UNET, f"{BLOCK}.to_q", "lora_up.weight"),
    f"unet.{BLOCK}.processor.to_out_lora.down.weight": ParsedName(DOTTED_UNET, f"{BLOCK}.to_out.0", "lora_down.weight"),
    f"{BLOCK}.processor.to_v_lora.up.weight": ParsedName((), f"{BLOCK}.to_v", "lora_up.weight"),
    f"unet.base_model.model.{BLOCK}.to_q.lora_A.weight": ParsedName(DOTTED_UNET, f"{BLOCK}.to_q", "lora_down.weight"),
    f"base_model.model.{BLOCK}.to_q.lora_A.weight": ParsedName((), f"{BLOCK}.to_q", "lora_down.weight"),
    f"base_model.model.unet.{BLOCK}.to_q.hada_w2_b": ParsedName(DOTTED_UNET, f"{BLOCK}.to_q", "hada_w2_b"),
    f"base_model.model.{BLOCK}.to_q.hada_w1_a.default": ParsedName((), f"{BLOCK}.to_q", "hada_w1_a"),
    f"unet.{BLOCK}.to_q.lora_magnitude_vector": ParsedName(DOTTED_UNET, f"{BLOCK}.to_q", "lora_magnitude_vector"),
    f"unet.{BLOCK}.to_q.lora_magnitude_vector.weight": ParsedName(
        DOTTED_UNET, f"{BLOCK}.to_q", "lora_magnitude_vector"
    ),
    f"unet.{BLOCK}.to_q.lora_magnitude_vector.style.weight": ParsedName(
        DOTTED_UNET, f"{BLOCK}.to_q", "lora_magnitude_vector"
    ),
    f"transformer.{BLOCK}.to_q.magnitude": ParsedName(("transformer",), f"{BLOCK}.to_q", "lora_magnitude_vector"),
    f"text_encoder.{CLIP}.q_proj.lora_A.weight": ParsedName(TE, f"{CLIP}.q_proj", "lora_down.weight"),
    f"text_encoder.{CLIP}.to_q_lora.up.weight": ParsedName(TE, f"{CLIP}.q_proj", "lora_up.weight"),
    f"text_encoder_2.{CLIP}.to_out_lora.down.weight": ParsedName(TE2, f"{CLIP}.out_proj", "lora_down.weight"),
    f"text_encoder.{CLIP}.q_proj.lora_linear_layer.up.weight": ParsedName(TE, f"{CLIP}.q_proj", "lora_up.weight"),
    "lora_unet__layers_0_attention_qkv.alpha": ParsedName(UNET, "layers_0_attention_qkv", "alpha"),
    "oft_unet_conv_in.alpha": ParsedName(UNET, "conv_in", "alpha"),
    "lora_prior_unet_x.diff": ParsedName(("prior", "prior_prior"), "x", "diff"),
    "lora_prior_te_x.diff": ParsedName(("prior_text_encoder", "text_encoder"), "x", "diff"),
    "diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight": ParsedName(
        UNET, "double_blocks.0.img_attn.qkv", "lora_down.weight"
    ),
    "model.diffusion_model.input_blocks.4.1.proj_in.lora_up.weight": ParsedName(
        UNET, "input_blocks.4.1.proj_in", "lora_up.weight"
    ),
    "base_model.model.double_blocks.0.img_mod.lin.lora_A.weight": ParsedName(
        (), "double_blocks.0.img_mod.lin", "lora_down.weight"
    ),
    "diffusion_model.base_model.model.x.lora_A.weight": ParsedName(UNET, "x", "lora_down.weight"),
    "transformer.x.lora_A.weight": ParsedName(("transformer",), "x", "lora_down.weight"),
    "prior.x.lora_A.weight": ParsedName(("prior", "prior_prior"), "x", "lora_down.weight"),
    f"text_encoders.clip_l.transformer.{CLIP}.q_proj.lora_up.weight": ParsedName(
        TE, f"{CLIP}.q_proj", "lora_up.weight"
    ),
    f"text_encoders.clip_g.transformer.{CLIP}.q_proj.lora_up.weight": ParsedName(
        CLIP_G, f"{CLIP}.q_proj", "lora_up.weight"
    ),
    "text_encoders.t5xxl.transformer.encoder.block.0.x.diff": ParsedName(T5, "encoder.block.0.x", "diff"),
    f"clip_l.{CLIP}.q_proj.lora_up.weight": ParsedName(TE, f"{CLIP}.q_proj", "lora_up.weight"),
    f"clip_g.{CLIP}.q_proj.lora_up.weight": ParsedName(CLIP_G, f"{CLIP}.q_proj", "lora_up.weight"),
    "t5.encoder.block.0.x.diff": ParsedName(T5, "encoder.block.0.x", "diff"),
    "diffusion_model.x.weight.diff": ParsedName(UNET, "x", "diff"),  # the parameter, not the module
    "diffusion_model.img_attn.norm.query_norm.scale.diff": ParsedName(UNET, "img_attn.norm.query_norm", "diff"),
    "double_blocks.0.img_attn.norm.key_norm.scale": ParsedName(
        (), "double_blocks.0.img_attn.norm.key_norm", "set_weight"
    ),
    "lora_unet_x.scale": ParsedName(UNET, "x", "scale"),
    "lora_llm_adapter_x.alpha": ParsedName(("text_conditioner",), "x", "alpha"),
    "double_blocks.3.processor.qkv_lora1.down.weight": ParsedName(
        UNET, "double_blocks.3.img_attn.qkv", "lora_down.weight"
    ),
    "double_blocks.3.processor.proj_lora2.up.weight": ParsedName(
        UNET, "double_blocks.3.txt_attn.proj", "lora_up.weight"
    ),
    "single_blocks.3.processor.qkv_lora.up.weight": ParsedName(UNET, "single_blocks.3.linear1_qkv", "lora_up.weight"),
    "diffusion_model.single_blocks.3.processor.proj_lora.down.weight": ParsedName(
        UNET, "single_blocks.3.linear2", "lora_down.weight"
    ),
    "diffusion_model.blocks.0.diff_m": ParsedName(
        UNET, "blocks.0.modulation", "diff"
    ),  # Wan's table, in ComfyUI's files
    "lora_unet_llm_adapter_blocks_0_mlp_0.alpha": ParsedName(("text_conditioner",), "blocks_0_mlp_0", "alpha"),
    "text_encoder.qwen3.layers.0.mlp.up_proj.lora_A.weight": ParsedName(TE, "layers.0.mlp.up_proj", "lora_down.weight"),
    "lora_te4_model_layers_0_mlp_up_proj.alpha": ParsedName(LLAMA, "model_layers_0_mlp_up_proj", "alpha"),
    "conditional_transformer.x.lora_A.weight": ParsedName(("transformer",), "x", "lora_down.weight"),
    # nothing reads these
    "lora_unet_conv_in.momentum": None,
    "lora_unet_conv_in.lora_up": None,
    "lora_unet_conv_in": None,
    "bundle_emb.style.string_to_param.*": None,
    "unet.conv_in.lora_C": None,
    "alpha": None,
    "": None,
}


@pytest.mark.parametrize("name", NAMES)
def test_places(name: str) -> None:
    assert next((place for dialect in DIALECTS if (place := dialect(name))), None) == NAMES[name]


@pytest.mark.parametrize(
    ("component", "path", "more"),
    [
        ("unet", "conv_middle", set()),
        ("unet", "a.b_c.0", set()),
        ("unet", "attn1.to_out.0", {"attn1.to_out"}),
        ("transformer", "transformer_blocks.0.x", {"sformer_blocks.0.x"}),
        ("text_encoder", "encoder.x", {"text_model.encoder.x"}),
        ("text_encoder_2", "text_model.encoder.x", {"encoder.x"}),
    ],
)
def test_names_are_made_from_the_models_own_path(component: str, path: str, more: set[str]) -> None:
    assert dict(aliases(component, [path], {f"{path}.weight": (1, 1)})) == dict.fromkeys(
        {path} | more, (RowSlice(path),)
    )


@pytest.mark.parametrize(
    ("name", "embedding"),
    [
        ("bundle_emb.my style.string_to_param.*", Embedding("my style", "clip_l")),
        ("bundle_emb.a.b.clip_g", Embedding("a.b", "clip_g")),
        ("bundle_emb.a.clip_l", Embedding("a", "clip_l")),
        ("bundle_emb.<embedding>.t5", Embedding("<embedding>", "t5")),
        ("bundle_emb.a.t5_out", None),
        ("bundle_emb.a.momentum", None),
        ("bundle_emb.clip_l", None),
        ("clip_l", None),
    ],
)
def test_embeddings(name: str, embedding: Embedding | None) -> None:
    assert embedding_of(name) == embedding
