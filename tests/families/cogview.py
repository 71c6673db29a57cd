"""CogView 3 Plus, which reads T5, and CogView 4, which reads GLM."""

from pathlib import Path
from typing import Any

from diffusers import (
    CogVideoXDDIMScheduler,
    CogView3PlusPipeline,
    CogView3PlusTransformer2DModel,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    FlowMatchEulerDiscreteScheduler,
)
from transformers import GlmConfig, GlmModel

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.language_models import decoder_sizes
from tests.families.parts import WIDTH, kl_codec, t5_encoder
from tests.families.weights import fill

LATENTS = 4
DENOISER: dict[str, Any] = {
    **{"patch_size": 2, "in_channels": LATENTS, "out_channels": LATENTS, "num_layers": 2},
    **{"attention_head_dim": 8, "num_attention_heads": 2, "text_embed_dim": WIDTH},
    **{"time_embed_dim": 16, "condition_dim": 4},
}


def cogview3(folder: Path) -> None:
    """Save a CogView 3 Plus."""
    tokenizer = tokenizers.t5()
    transformer = CogView3PlusTransformer2DModel(**DENOISER)
    scheduler = CogVideoXDDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        set_alpha_to_one=True,
    )
    pipeline = CogView3PlusPipeline(
        tokenizer=tokenizer,
        text_encoder=t5_encoder(tokenizer),
        vae=kl_codec(LATENTS),
        transformer=transformer,
        scheduler=scheduler,
    )
    fill(pipeline).save_pretrained(folder)


def cogview4(folder: Path) -> None:
    """Save a CogView 4."""
    tokenizer = tokenizers.llama()
    tokenizer.pad_token = tokenizer.eos_token
    config = GlmConfig(**decoder_sizes(tokenizer, layers=3), head_dim=16)
    transformer = CogView4Transformer2DModel(**DENOISER)
    scheduler = FlowMatchEulerDiscreteScheduler(
        base_shift=0.25,
        max_shift=0.75,
        base_image_seq_len=256,
        use_dynamic_shifting=True,
        time_shift_type="linear",
    )
    pipeline = CogView4Pipeline(
        tokenizer=tokenizer,
        text_encoder=GlmModel(config),
        vae=kl_codec(LATENTS),
        transformer=transformer,
        scheduler=scheduler,
    )
    fill(pipeline, gain=1.5).save_pretrained(folder)


FAMILIES = (
    Family("cogview-3-plus", cogview3, ("transformer", "text_encoder"), multiple=16),
    Family("cogview-4", cogview4, ("transformer", "text_encoder"), multiple=16),
)
