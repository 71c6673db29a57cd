"""Names that a transformer's first authors gave its layers, and what diffusers made of them: data only.

Each row: the native name -> the model's own, several where the model has cut the layer into several (rows one below the
other, in this order). `path#k/n` is the k-th of n equal parts of the rows of `path`; `path@r` is `path` provided that
it has r rows for each column; ` | ` stands between alternatives, of which the first that the model has is meant. `*` is
the number of a block.
Sources: Black Forest Labs, Stability AI, Alpha-VLLM, Tongyi and Wan-AI checkpoints as diffusers converts them
(`loaders/single_file_utils.py`), of which only the names are taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass

Names = Mapping[str, str]


@dataclass(frozen=True)
class Scheme:
    """The native names of one family of models; meant only for a model that has every module of `needs`."""

    family: str
    needs: tuple[str, ...]
    blocks: Mapping[tuple[str, str], Names]  # (native block, own block) -> names below it


def swapped(path: str) -> str:
    """Return the halves of a layer's rows, exchanged: (shift, scale) there, (scale, shift) in diffusers."""
    return f"{path}#1/2 {path}#0/2"


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

# Chroma is FLUX.1 without modulation in its blocks, and with a network of its own that makes it.
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
            "linear1_qkv": "attn.to_q attn.to_k attn.to_v",  # XLabs, USO: the first three parts of linear1
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
SD_3 = Scheme(
    "SD 3",
    ("pos_embed.proj", "transformer_blocks.0.attn.add_q_proj", "context_embedder"),
    {
        ("joint_blocks.*", "transformer_blocks.*"): {
            "x_block.attn.qkv": "attn.to_q attn.to_k attn.to_v",
            "x_block.attn.proj": "attn.to_out.0",
            "x_block.attn.ln_q": "attn.norm_q",
            "x_block.attn.ln_k": "attn.norm_k",
            "x_block.attn2.qkv": "attn2.to_q attn2.to_k attn2.to_v",
            "x_block.attn2.proj": "attn2.to_out.0",
            "x_block.attn2.ln_q": "attn2.norm_q",
            "x_block.attn2.ln_k": "attn2.norm_k",
            "x_block.mlp.fc1": "ff.net.0.proj",
            "x_block.mlp.fc2": "ff.net.2",
            "x_block.adaLN_modulation.1": "norm1.linear",
            "context_block.attn.qkv": "attn.add_q_proj attn.add_k_proj attn.add_v_proj",
            "context_block.attn.proj": "attn.to_add_out",
            "context_block.attn.ln_q": "attn.norm_added_q",
            "context_block.attn.ln_k": "attn.norm_added_k",
            "context_block.mlp.fc1": "ff_context.net.0.proj",
            "context_block.mlp.fc2": "ff_context.net.2",
            # The last block only reads the text: it has two modulations of it, not six, and diffusers exchanges them.
            "context_block.adaLN_modulation.1": f"norm1_context.linear@6 | {swapped('norm1_context.linear@2')}",
        },
        ("", ""): {
            "x_embedder.proj": "pos_embed.proj",
            "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
            "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
            "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
            "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
            "final_layer.linear": "proj_out",
            "final_layer.adaLN_modulation.1": swapped("norm_out.linear"),
        },
    },
)
Z_BLOCK: Names = {
    "attention.qkv": "attention.to_q attention.to_k attention.to_v",
    "attention.out": "attention.to_out.0",
    "attention.q_norm": "attention.norm_q",
    "attention.k_norm": "attention.norm_k",
}
Z_IMAGE = Scheme(
    "Z-Image",
    ("all_x_embedder.2-1", "layers.0.attention.to_q"),
    {
        ("layers.*", "layers.*"): Z_BLOCK,
        ("noise_refiner.*", "noise_refiner.*"): Z_BLOCK,
        ("context_refiner.*", "context_refiner.*"): Z_BLOCK,
        ("", ""): {
            "x_embedder": "all_x_embedder.2-1",
            "final_layer.linear": "all_final_layer.2-1.linear",
            "final_layer.adaLN_modulation.1": "all_final_layer.2-1.adaLN_modulation.1",
        },
    },
)
LUMINA_BLOCK: Names = {
    "attention.qkv": "attn.to_q attn.to_k attn.to_v",  # four times fewer rows of k and v than of q
    "attention.out": "attn.to_out.0",
    "attention.q_norm": "attn.norm_q",
    "attention.k_norm": "attn.norm_k",
    "feed_forward.w1": "feed_forward.linear_1",
    "feed_forward.w2": "feed_forward.linear_2",
    "feed_forward.w3": "feed_forward.linear_3",
    "adaLN_modulation.1": "norm1.linear",
    "attention_norm1": "norm1.norm | norm1",
    "attention_norm2": "norm2",
}
LUMINA_2 = Scheme(
    "Lumina 2",
    ("time_caption_embed.timestep_embedder.linear_1", "layers.0.attn.to_q"),
    {
        ("layers.*", "layers.*"): LUMINA_BLOCK,
        ("noise_refiner.*", "noise_refiner.*"): LUMINA_BLOCK,
        ("context_refiner.*", "context_refiner.*"): LUMINA_BLOCK,
        ("", ""): {
            "cap_embedder.0": "time_caption_embed.caption_embedder.0",
            "cap_embedder.1": "time_caption_embed.caption_embedder.1",
            "t_embedder.mlp.0": "time_caption_embed.timestep_embedder.linear_1",
            "t_embedder.mlp.2": "time_caption_embed.timestep_embedder.linear_2",
            "final_layer.adaLN_modulation.1": "norm_out.linear_1",
            "final_layer.linear": "norm_out.linear_2",
        },
    },
)
WAN = Scheme(
    "Wan",
    ("condition_embedder.time_proj", "blocks.0.attn1.to_q"),
    {
        ("blocks.*", "blocks.*"): {
            **{
                f"{native}.{letter}": f"{own}.{leaf}"
                for native, own in (("self_attn", "attn1"), ("cross_attn", "attn2"))
                for letter, leaf in (
                    *(("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("o", "to_out.0")),
                    *(("norm_q", "norm_q"), ("norm_k", "norm_k")),
                )
            },
            "cross_attn.k_img": "attn2.add_k_proj",
            "cross_attn.v_img": "attn2.add_v_proj",
            "cross_attn.norm_k_img": "attn2.norm_added_k",
            "ffn.0": "ffn.net.0.proj",
            "ffn.2": "ffn.net.2",
            "norm3": "norm2",
            "modulation": "scale_shift_table",
        },
        ("", ""): {
            "time_embedding.0": "condition_embedder.time_embedder.linear_1",
            "time_embedding.2": "condition_embedder.time_embedder.linear_2",
            "text_embedding.0": "condition_embedder.text_embedder.linear_1",
            "text_embedding.2": "condition_embedder.text_embedder.linear_2",
            "time_projection.1": "condition_embedder.time_proj",
            "head.head": "proj_out",
            "head.modulation": "scale_shift_table",
            "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
            "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
            "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
            "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
        },
    },
)
COSMOS = Scheme(
    "Anima",
    ("transformer_blocks.0.norm1.linear_1", "transformer_blocks.0.attn2.to_q", "patch_embed.proj"),
    {
        ("blocks.*", "transformer_blocks.*"): {
            **{
                f"{native}.{leaf}": f"{own}.{ours}"
                for native, own in (("self_attn", "attn1"), ("cross_attn", "attn2"))
                for leaf, ours in (
                    *(("q_proj", "to_q"), ("k_proj", "to_k"), ("v_proj", "to_v"), ("output_proj", "to_out.0")),
                    *(("q_norm", "norm_q"), ("k_norm", "norm_k")),
                )
            },
            **{
                f"adaln_modulation_{native}.{k}": f"{own}.linear_{k}"
                for native, own in (("self_attn", "norm1"), ("cross_attn", "norm2"), ("mlp", "norm3"))
                for k in (1, 2)
            },
            "mlp.layer1": "ff.net.0.proj",
            "mlp.layer2": "ff.net.2",
        },
        ("", ""): {
            "x_embedder.proj.1": "patch_embed.proj",
            "t_embedder.1.linear_1": "time_embed.t_embedder.linear_1",
            "t_embedder.1.linear_2": "time_embed.t_embedder.linear_2",
            "final_layer.adaln_modulation.1": "norm_out.linear_1",
            "final_layer.adaln_modulation.2": "norm_out.linear_2",
            "final_layer.linear": "proj_out",
        },
    },
)

SCHEMES = (FLUX_1, FLUX_2, SD_3, Z_IMAGE, LUMINA_2, WAN, COSMOS)
