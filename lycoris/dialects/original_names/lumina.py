"""Z-Image, Lumina 2 and Ideogram 4, of one stem: the names of Tongyi, Alpha-VLLM and Ideogram."""

from lycoris.dialects.original_names.scheme import Names, Scheme

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
IDEOGRAM_4 = Scheme(
    "Ideogram 4",
    ("llm_cond_proj", "layers.0.attention.to_q"),
    {
        ("layers.*", "layers.*"): {
            "attention.qkv": "attention.to_q attention.to_k attention.to_v",
            "attention.o": "attention.to_out.0",
        },
    },
)
