"""Sana and Sana-Sprint: linear attention, Gemma 2 and a codec of factor 32."""

from pathlib import Path
from typing import Any

from diffusers import (
    AutoencoderDC,
    DPMSolverMultistepScheduler,
    SanaPipeline,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
)

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.language_models import gemma2
from tests.families.parts import WIDTH
from tests.families.weights import fill

LATENTS = 4
CHANNELS = (4, 4, 8, 8, 8, 8)  # six levels: a latent is 2^5 = 32 pixels wide
HEADS, HEAD = 2, 8
AS_ASKED = {"use_resolution_binning": False}  # else the nearest of a table is drawn, and resized


def codec() -> AutoencoderDC:
    """The codec of factor 32, with convolutions alone."""
    levels = len(CHANNELS)
    return AutoencoderDC(
        latent_channels=LATENTS,
        attention_head_dim=4,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=CHANNELS,
        decoder_block_out_channels=CHANNELS,
        encoder_layers_per_block=(1,) * levels,
        decoder_layers_per_block=(1,) * levels,
        encoder_qkv_multiscales=((),) * levels,
        decoder_qkv_multiscales=((),) * levels,
        upsample_block_type="interpolate",
        downsample_block_type="conv",
        scaling_factor=0.41407,
    )


def assembled(kind: Any, scheduler: Any, **denoiser: Any) -> Any:
    """A pipeline of either kind."""
    tokenizer = tokenizers.gemma()
    transformer = SanaTransformer2DModel(
        in_channels=LATENTS,
        out_channels=LATENTS,
        num_layers=2,
        num_attention_heads=HEADS,
        attention_head_dim=HEAD,
        num_cross_attention_heads=HEADS,
        cross_attention_head_dim=HEAD,
        cross_attention_dim=HEADS * HEAD,
        caption_channels=WIDTH,
        **denoiser,
    )
    pipeline = kind(
        tokenizer=tokenizer,
        text_encoder=gemma2(tokenizer),
        vae=codec(),
        transformer=transformer,
        scheduler=scheduler,
    )
    return fill(pipeline)


def sana(folder: Path) -> None:
    """Save a Sana of 512 pixels; its scheduler is of the Karras family, and predicts a flow."""
    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, algorithm_type="dpmsolver++"
    )
    assembled(SanaPipeline, scheduler, sample_size=16).save_pretrained(folder)


def sprint(folder: Path) -> None:
    """Save a Sana-Sprint of 1024 pixels, the one size that has bins; its guidance is embedded."""
    denoiser = {"sample_size": 32, "qk_norm": "rms_norm_across_heads", "guidance_embeds": True}
    assembled(SanaSprintPipeline, SCMScheduler(), **denoiser).save_pretrained(folder)


FAMILIES = (
    Family("sana", sana, ("transformer", "text_encoder"), multiple=32, extra=AS_ASKED),
    Family("sana-sprint", sprint, ("transformer", "text_encoder"), negative=False, multiple=32, extra=AS_ASKED),
)
