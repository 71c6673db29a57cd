"""Anima, which is a Cosmos Predict 2: the names of NVIDIA."""

from lycoris.dialects.original_names.scheme import Scheme

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
            "t_embedding_norm": "time_embed.norm",
            "t_embedder.1.linear_1": "time_embed.t_embedder.linear_1",
            "t_embedder.1.linear_2": "time_embed.t_embedder.linear_2",
            "final_layer.adaln_modulation.1": "norm_out.linear_1",
            "final_layer.adaln_modulation.2": "norm_out.linear_2",
            "final_layer.linear": "proj_out",
        },
    },
)
