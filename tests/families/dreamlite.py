"""DreamLite, and the one for phones: a UNet that reads Qwen 3 VL, and a tiny codec."""

from pathlib import Path
from typing import Any

from diffusers import (
    AutoencoderTiny,
    DreamLiteMobilePipeline,
    DreamLitePipeline,
    DreamLiteUNetModel,
    FlowMatchEulerDiscreteScheduler,
)
from transformers import Qwen3VLForConditionalGeneration

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.hunyuan import TEMPLATE
from tests.families.language_models import qwen3_vl
from tests.families.parts import WIDTH
from tests.families.processors import opened_for_text, save_as, seeing
from tests.families.weights import fill

LATENTS = 4


def save(kind: Any, folder: Path) -> None:
    """Save a DreamLite of either kind."""
    tokenizer = tokenizers.qwen(words=TEMPLATE)
    unet = DreamLiteUNetModel(
        sample_size=8,
        in_channels=LATENTS,
        out_channels=LATENTS,
        down_block_types=("DreamLiteCrossAttnNoSelfAttnDownBlock2D", "DreamLiteCrossAttnDownBlock2D"),
        up_block_types=("DreamLiteCrossAttnUpBlock2D", "DreamLiteUpBlock2D"),
        block_out_channels=(16, 16),
        cross_attention_dim=WIDTH,
        attention_head_dim=8,
        layers_per_block=1,
        norm_num_groups=4,
        transformer_layers_per_block=1,
    )
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        num_encoder_blocks=(1,) * 4,
        num_decoder_blocks=(1,) * 4,
        latent_channels=LATENTS,
    )
    pipeline = kind(
        text_encoder=qwen3_vl(Qwen3VLForConditionalGeneration, tokenizer),
        tokenizer=tokenizer,
        processor=seeing(tokenizer, 16),
        vae=vae,
        unet=unet,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )
    save_as(fill(pipeline), folder, processor="Qwen3VLProcessor")


def dreamlite(folder: Path) -> None:
    """Save a DreamLite."""
    save(DreamLitePipeline, folder)


def mobile(folder: Path) -> None:
    """Save a DreamLite for phones, which reads no guidance."""
    save(DreamLiteMobilePipeline, folder)


FAMILIES = (
    Family("dreamlite", dreamlite, ("unet", "text_encoder"), open=opened_for_text),
    Family(
        "dreamlite-mobile",
        mobile,
        ("unet", "text_encoder"),
        open=opened_for_text,
        guidance=None,
        negative=False,
    ),
)
