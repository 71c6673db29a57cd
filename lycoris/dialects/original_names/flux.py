"""FLUX.1, Chroma, FLUX.2 and FLUX.3: the names of Black Forest Labs."""

from lycoris.dialects.original_names.scheme import Names, Scheme, swapped

DOUBLE: Names = {
    "img_attn.qkv": "attn.to_q attn.to_k attn.to_v",
    "txt_attn.qkv": "attn.add_q_proj attn.add_k_proj attn.add_v_proj",
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
}
SINGLE_NORMS: Names = {"norm.query_norm": "attn.norm_q", "norm.key_norm": "attn.norm_k"}
ENDS: Names = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": swapped("norm_out.linear"),
}

# Chroma is FLUX.1 without modulation in its blocks: a separate network makes it.
FLUX_1 = Scheme(
    "FLUX.1",
    ("single_transformer_blocks.0.proj_mlp", "context_embedder"),
    {
        ("double_blocks.*", "transformer_blocks.*"): DOUBLE
        | {
            "img_mlp.0": "ff.net.0.proj",
            "img_mlp.2": "ff.net.2",
            "txt_mlp.0": "ff_context.net.0.proj",
            "txt_mlp.2": "ff_context.net.2",
            "img_mod.lin": "norm1.linear",
            "txt_mod.lin": "norm1_context.linear",
        },
        ("single_blocks.*", "single_transformer_blocks.*"): SINGLE_NORMS
        | {
            "linear1": "attn.to_q attn.to_k attn.to_v proj_mlp",
            "linear2": "proj_out",
            "modulation.lin": "norm.linear",
        },
        ("", ""): ENDS
        | {
            "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
            "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
            "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
            "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
            "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
            "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
        },
        ("distilled_guidance_layer.layers.*", "distilled_guidance_layer.layers.*"): {
            "in_layer": "linear_1",
            "out_layer": "linear_2",
        },
    },
    aliases={
        # XLabs, USO: the first three parts of linear1
        ("single_blocks.*", "single_transformer_blocks.*"): {"linear1_qkv": "attn.to_q attn.to_k attn.to_v"},
        ("", ""): {"img_in.proj": "x_embedder"},  # OneTrainer's OMI
    },
)
FLUX_2 = Scheme(
    "FLUX.2",
    ("single_transformer_blocks.0.attn.to_qkv_mlp_proj",),
    {
        ("double_blocks.*", "transformer_blocks.*"): DOUBLE
        | {
            "img_mlp.0": "ff.linear_in",
            "img_mlp.2": "ff.linear_out",
            "txt_mlp.0": "ff_context.linear_in",
            "txt_mlp.2": "ff_context.linear_out",
        },
        ("single_blocks.*", "single_transformer_blocks.*"): SINGLE_NORMS
        | {"linear1": "attn.to_qkv_mlp_proj", "linear2": "attn.to_out"},
        ("", ""): ENDS
        | {
            "time_in.in_layer": "time_guidance_embed.timestep_embedder.linear_1",
            "time_in.out_layer": "time_guidance_embed.timestep_embedder.linear_2",
            "guidance_in.in_layer": "time_guidance_embed.guidance_embedder.linear_1",
            "guidance_in.out_layer": "time_guidance_embed.guidance_embedder.linear_2",
            "double_stream_modulation_img.lin": "double_stream_modulation_img.linear",
            "double_stream_modulation_txt.lin": "double_stream_modulation_txt.linear",
            "single_stream_modulation.lin": "single_stream_modulation.linear",
        },
    },
)
STREAM: Names = {
    "q_proj": "attn.to_q",
    "k_proj": "attn.to_k",
    "v_proj": "attn.to_v",
    "attn_out": "attn.to_out.0",
    "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
    "mlp_in": "ff.linear_in",
    "mlp_out": "ff.linear_out",
}
FLUX_3 = Scheme(
    "FLUX.3",
    ("early_stream_modulations.txt.linear", "txt_mode_blocks.0.attn.to_q"),
    {
        ("content_mode_blocks.*.*", "mode_blocks.*.*"): STREAM,
        ("txt_mode_blocks.*", "txt_mode_blocks.*"): STREAM,
        ("single_blocks.*", "single_transformer_blocks.*"): STREAM,
        ("early_stream_modulations.*", "early_stream_modulations.*"): {"lin": "linear"},
        ("single_stream_modulations.*", "single_stream_modulations.*"): {"lin": "linear"},
        ("", ""): {
            "emb_in.image": "x_embedders.image",
            "emb_in.image_cond": "x_embedders.image_cond",
            "txt_in": "context_embedder",
            "time_in.in_layer": "timestep_embedder.linear_1",
            "time_in.out_layer": "timestep_embedder.linear_2",
            "ref_time_in.in_layer": "target_timestep_embedder.linear_1",
            "ref_time_in.out_layer": "target_timestep_embedder.linear_2",
            "final_layer.image.linear": "proj_out",
            "final_layer.image.adaLN_modulation.1": swapped("norm_out.linear"),
        },
    },
)
