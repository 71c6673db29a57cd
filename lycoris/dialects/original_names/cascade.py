"""Stable Cascade's prior and decoder: the names of Stability AI, and of those who split its attention in three."""

from lycoris.dialects.original_names.scheme import Names, Scheme

WAYS = (("down_blocks.*.*", "down_blocks.*.*"), ("up_blocks.*.*", "up_blocks.*.*"))
ATTENTION: Names = {
    "attention.attn.in_proj": "attention.to_q attention.to_k attention.to_v",
    "attention.attn.out_proj": "attention.to_out.0",
}
APART: Names = {f"attention.attn.to_{leaf}": f"attention.to_{leaf}" for leaf in "qkv"}

CASCADE = Scheme(
    "Stable Cascade",
    ("clip_txt_pooled_mapper", "embedding.1"),
    dict.fromkeys(WAYS, ATTENTION),
    aliases=dict.fromkeys(WAYS, APART),
)
