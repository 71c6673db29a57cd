"""Wan 2.1 and 2.2, from text and from pictures, and VACE: the names of Wan-AI."""

from lycoris.dialects.original_names.scheme import Names, Scheme

BLOCK: Names = {
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
}
WAN = Scheme(
    "Wan",
    ("condition_embedder.time_proj", "blocks.0.attn1.to_q"),
    {
        ("blocks.*", "blocks.*"): BLOCK,
        ("vace_blocks.*", "vace_blocks.*"): BLOCK | {"before_proj": "proj_in", "after_proj": "proj_out"},
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
            "img_emb.emb_pos": "condition_embedder.image_embedder.pos_embed",
        },
    },
)
