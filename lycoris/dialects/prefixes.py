"""What a name may begin with, and the part of a model that it then speaks of: data, longest first where two fit.

Of several components the first that a model has is meant: one prefix serves UNets and transformers, and T5 is a model's
third text encoder (SD 3) or its second (FLUX.1).
"""

from collections.abc import Mapping

Components = tuple[str, ...]

DENOISER: Components = ("unet", "transformer", "prior")
FIRST: Components = ("text_encoder",)
SECOND: Components = ("text_encoder_2",)
T5: Components = ("text_encoder_3", "text_encoder_2")

# Names with underscores for dots: kohya and those who follow, LyCORIS, OneTrainer
FLAT: Mapping[str, Components] = {
    "lora_unet__": DENOISER,  # musubi, Wan-Fun: the path itself began with a dot
    "lora_unet_": DENOISER,
    "oft_unet_": DENOISER,
    "lora_transformer_": ("transformer",),
    "lora_prior_unet_": ("prior",),
    "lora_prior_te_": FIRST,
    "lora_te1_": FIRST,
    "lora_te2_": SECOND,  # of FLUX.1 OneTrainer means T5 by it, which is its second
    "lora_te3_": T5,
    "lora_te_": FIRST,
    "lora_llm_adapter_": ("text_conditioner",),  # Anima's, between its language model and its transformer
    "lycoris_": DENOISER,
}
# Dotted names: ComfyUI and ai-toolkit, OneTrainer's OMI, diffusers
DOTTED: Mapping[str, Components] = {
    "diffusion_model.llm_adapter.": ("text_conditioner",),
    "model.diffusion_model.": DENOISER,
    "diffusion_model.": DENOISER,
    "text_encoders.clip_l.transformer.": FIRST,
    "text_encoders.clip_h.transformer.": FIRST,
    "text_encoders.clip_g.transformer.": SECOND,
    "text_encoders.t5xxl.transformer.": T5,
    "clip_l.transformer.": FIRST,
    "clip_g.transformer.": SECOND,
    "t5xxl.transformer.": T5,
    "clip_l.": FIRST,
    "clip_g.": SECOND,
    "t5xxl.": T5,
    "t5.": T5,
} | {
    f"{component}.": (component,)
    for component in ("unet", "transformer", "prior", "text_encoder", "text_encoder_2", "text_encoder_3")
}
