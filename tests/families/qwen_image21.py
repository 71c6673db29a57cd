"""Qwen-Image 2.1: Qwen 3 VL, a codec of factor 16 with an alpha channel, keys of the text kept from the first step."""

from pathlib import Path

from diffusers import (
    AutoencoderKLQwenImage21,
    FlowMatchEulerDiscreteScheduler,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
)
from transformers import Qwen3VLForConditionalGeneration

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.language_models import qwen3_vl
from tests.families.parts import WIDTH
from tests.families.processors import opened_for_text, save_as, seeing
from tests.families.weights import fill

CHANNELS = 8  # of latents


def qwen_image21(folder: Path) -> None:
    """Save a Qwen-Image 2.1."""
    tokenizer = tokenizers.qwen(1024)
    transformer = QwenImage21Transformer2DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        context_in_dim=WIDTH,
        axes_dims_rope=(4, 4, 8),
    )
    vae = AutoencoderKLQwenImage21(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=CHANNELS,
        dim_mult=[1, 1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.0] * CHANNELS,
        latents_std=[1.0] * CHANNELS,
    )
    pipeline = QwenImage21Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae,
        text_encoder=qwen3_vl(Qwen3VLForConditionalGeneration, tokenizer),
        processor=seeing(tokenizer, 16),
        transformer=transformer,
    )
    save_as(fill(pipeline, gain=1.5), folder, processor="Qwen3VLProcessor")


FAMILIES = (
    Family(
        "qwen-image-2.1",
        qwen_image21,
        ("transformer", "text_encoder"),
        open=opened_for_text,
        guidance="true_cfg_scale",
        multiple=32,
        extra={"negative_prompt": ""},  # without one it is not guided
    ),
)
