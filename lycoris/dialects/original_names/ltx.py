"""LTX-Video and LTX-2, with sound: the names of Lightricks. Most are diffusers' own."""

from lycoris.dialects.original_names.scheme import Scheme

ATTENTIONS = ("attn1", "attn2", "audio_attn1", "audio_attn2", "audio_to_video_attn", "video_to_audio_attn")
MODULATIONS = {
    "adaln_single": "time_embed",
    "audio_adaln_single": "audio_time_embed",
    "prompt_adaln_single": "prompt_adaln",
    "audio_prompt_adaln_single": "audio_prompt_adaln",
    "av_ca_video_scale_shift_adaln_single": "av_cross_attn_video_scale_shift",
    "av_ca_audio_scale_shift_adaln_single": "av_cross_attn_audio_scale_shift",
    "av_ca_a2v_gate_adaln_single": "av_cross_attn_video_a2v_gate",
    "av_ca_v2a_gate_adaln_single": "av_cross_attn_audio_v2a_gate",
}
LAYERS = ("linear", "emb.timestep_embedder.linear_1", "emb.timestep_embedder.linear_2")

LTX = Scheme(
    "LTX-Video",
    ("time_embed.emb.timestep_embedder.linear_1", "transformer_blocks.0.attn1.norm_q", "proj_in"),
    {
        ("transformer_blocks.*", "transformer_blocks.*"): {
            **{f"{attention}.{leaf}_norm": f"{attention}.norm_{leaf}" for attention in ATTENTIONS for leaf in "qk"},
            "scale_shift_table_a2v_ca_video": "video_a2v_cross_attn_scale_shift_table",
            "scale_shift_table_a2v_ca_audio": "audio_a2v_cross_attn_scale_shift_table",
        },
        ("", ""): {
            "patchify_proj": "proj_in",
            "audio_patchify_proj": "audio_proj_in",
            **{f"{native}.{layer}": f"{own}.{layer}" for native, own in MODULATIONS.items() for layer in LAYERS},
        },
    },
)
