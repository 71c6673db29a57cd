"""Prefixes of tensor names, and the components that each may mean: data, longest first where two fit.

The first component that a model has is meant: one prefix serves UNets and transformers, and T5 is a model's third text
encoder (SD 3), its second (FLUX.1) or its only one (Chroma).
"""

from collections.abc import Mapping

Components = tuple[str, ...]

DENOISER: Components = ("unet", "transformer", "prior")
FIRST: Components = ("text_encoder",)
SECOND: Components = ("text_encoder_2",)
T5: Components = ("text_encoder_3", "text_encoder_2", "text_encoder")
CLIP_G: Components = ("text_encoder_2", "text_encoder")  # Stable Cascade has no other
LLAMA: Components = ("text_encoder_4", "text_encoder")  # HiDream's fourth, HunyuanVideo's first
CONDITIONER: Components = ("text_conditioner",)  # Anima's, between its language model and its transformer
PRIOR: Components = ("prior", "prior_prior")  # Kandinsky 2.2's alone, or combined with its decoder
PRIOR_ENCODER: Components = ("prior_text_encoder", "text_encoder")
# A component's own name is a prefix as well, of it alone
OWN = (
    *("transformer", "transformer_2", "unconditional_transformer", "decoder", "prior_prior"),
    *("text_encoder", "text_encoder_2", "text_encoder_3", "text_encoder_4"),
    *("prior_text_encoder", "text_conditioner"),
)

# Names with underscores for dots: kohya and others after him, LyCORIS, OneTrainer
FLAT_PREFIXES: Mapping[str, Components] = {
    "lora_unet_llm_adapter_": CONDITIONER,
    "lora_unet_": DENOISER,
    "oft_unet_": DENOISER,
    "lora_transformer_2_": ("transformer_2",),
    "lora_transformer_": ("transformer",),
    "lora_prior_unet_": PRIOR,
    "lora_prior_te_": PRIOR_ENCODER,
    "lora_te1_": FIRST,
    "lora_te2_": SECOND,  # for FLUX.1 OneTrainer means T5, its second
    "lora_te3_": T5,
    "lora_te4_": LLAMA,
    "lora_te_": FIRST,
    "lora_llm_adapter_": CONDITIONER,
    "lycoris_": DENOISER,
}
# Dotted names: ComfyUI and ai-toolkit, OneTrainer's OMI, diffusers
DOTTED_PREFIXES: Mapping[str, Components] = {
    "diffusion_model.llm_adapter.": CONDITIONER,
    "model.diffusion_model.llm_adapter.": CONDITIONER,
    "model.diffusion_model.": DENOISER,
    "diffusion_model.": DENOISER,
    "conditional_transformer.": ("transformer",),  # Ideogram 4's, of its two
    **{f"text_encoders.{clip}.transformer.": FIRST for clip in ("clip_l", "clip_h")},
    **{f"text_encoders.{model}.transformer.": FIRST for model in ("qwen25_7b", "qwen3_4b", "qwen3_06b", "gemma2_2b")},
    "text_encoders.clip_g.transformer.": CLIP_G,
    "text_encoders.t5xxl.transformer.": T5,
    "text_encoders.llama.transformer.": LLAMA,
    "text_encoder.qwen3.": FIRST,  # Anima's, as kohya's scripts write it for ComfyUI
    "clip_l.transformer.": FIRST,
    "clip_g.transformer.": CLIP_G,
    "t5xxl.transformer.": T5,
    "clip_l.": FIRST,
    "clip_g.": CLIP_G,
    "t5xxl.": T5,
    "t5.": T5,
    "llama.": LLAMA,
    "unet.": ("unet", "prior"),  # OneTrainer's OMI calls Stable Cascade's prior so
    "prior.": PRIOR,
} | {f"{component}.": (component,) for component in OWN}
