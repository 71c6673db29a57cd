"""Krea 2: the names of Krea."""

from lycoris.dialects.original_names.scheme import Names, Scheme

BLOCK: Names = {
    **{f"attn.w{leaf}": f"attn.to_{leaf}" for leaf in "qkv"},
    "attn.wo": "attn.to_out.0",
    "attn.gate": "attn.to_gate",
    "attn.qknorm.qnorm": "attn.norm_q",
    "attn.qknorm.knorm": "attn.norm_k",
    **{f"mlp.{leaf}": f"ff.{leaf}" for leaf in ("gate", "up", "down")},
    "prenorm": "norm1",
    "postnorm": "norm2",
}
KREA_2 = Scheme(
    "Krea 2",
    ("text_fusion.projector", "transformer_blocks.0.attn.to_gate"),
    {
        ("blocks.*", "transformer_blocks.*"): BLOCK,
        ("txtfusion.layerwise_blocks.*", "text_fusion.layerwise_blocks.*"): BLOCK,
        ("txtfusion.refiner_blocks.*", "text_fusion.refiner_blocks.*"): BLOCK,
        ("", ""): {
            "first": "img_in",
            "tmlp.0": "time_embed.linear_1",
            "tmlp.2": "time_embed.linear_2",
            "tproj.1": "time_mod_proj",
            "txtmlp.0": "txt_in.norm",
            "txtmlp.1": "txt_in.linear_1",
            "txtmlp.3": "txt_in.linear_2",
            "txtfusion.projector": "text_fusion.projector",
            "last.linear": "final_layer.linear",
            "last.norm": "final_layer.norm",
        },
    },
)
