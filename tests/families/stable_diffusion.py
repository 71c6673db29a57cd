"""Stable Diffusion 1.5, 2 and XL, and a latent consistency model: UNets that read CLIP."""

from pathlib import Path
from typing import Any

from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.parts import WIDTH, clip_encoder, kl_codec
from tests.families.weights import fill

NOISE: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def unet(**changed: Any) -> UNet2DConditionModel:
    """A UNet of two levels, of which the lower one reads the text."""
    plain: dict[str, Any] = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**plain | changed)


def one_encoder(kind: Any, denoiser: UNet2DConditionModel, scheduler: Any) -> Any:
    """A pipeline with a single CLIP."""
    tokenizer = tokenizers.clip()
    parts = {
        "unet": denoiser,
        "vae": kl_codec(),
        "text_encoder": clip_encoder(tokenizer),
        "tokenizer": tokenizer,
        "scheduler": scheduler,
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
    return fill(kind(**parts))


def sd15(folder: Path) -> None:
    """Save a Stable Diffusion 1.5."""
    scheduler = PNDMScheduler(**NOISE, skip_prk_steps=True, set_alpha_to_one=False)
    one_encoder(StableDiffusionPipeline, unet(), scheduler).save_pretrained(folder)


def sd2(folder: Path) -> None:
    """Save a Stable Diffusion 2 that predicts velocity."""
    denoiser = unet(attention_head_dim=(1, 2), use_linear_projection=True)
    scheduler = DDIMScheduler(**NOISE, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False)
    one_encoder(StableDiffusionPipeline, denoiser, scheduler).save_pretrained(folder)


def lcm(folder: Path) -> None:
    """Save a latent consistency model: its guidance is embedded, and it was distilled over 50 steps."""
    scheduler = LCMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
    )
    one_encoder(LatentConsistencyModelPipeline, unet(time_cond_proj_dim=32), scheduler).save_pretrained(folder)


def sdxl(folder: Path) -> None:
    """Save a Stable Diffusion XL: two CLIPs, and a UNet that is told the sizes of the picture."""
    first, second = tokenizers.clip(), tokenizers.clip()
    denoiser = unet(
        attention_head_dim=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=6 * 8 + WIDTH,
        cross_attention_dim=2 * WIDTH,
    )
    pipeline = StableDiffusionXLPipeline(
        unet=denoiser,
        vae=kl_codec(),
        text_encoder=clip_encoder(first),
        text_encoder_2=clip_encoder(second, projected=True),
        tokenizer=first,
        tokenizer_2=second,
        scheduler=EulerDiscreteScheduler(**NOISE, timestep_spacing="leading"),
    )
    fill(pipeline).save_pretrained(folder)


FAMILIES = (
    Family("sd-1.5", sd15, ("unet", "text_encoder")),
    Family("sd-2", sd2, ("unet", "text_encoder")),
    Family("sdxl", sdxl, ("unet", "text_encoder", "text_encoder_2")),
    Family("lcm", lcm, ("unet", "text_encoder"), negative=False),
)
