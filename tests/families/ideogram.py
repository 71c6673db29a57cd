"""Ideogram 4: two transformers, one that reads the text and one that does not, whose difference is the guidance."""

from pathlib import Path

from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Ideogram4Pipeline,
    Ideogram4Transformer2DModel,
)
from diffusers.pipelines.ideogram4.pipeline_ideogram4 import QWEN3_VL_ACTIVATION_LAYERS
from transformers import Qwen3VLModel

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.language_models import qwen3_vl
from tests.families.parts import WIDTH
from tests.families.weights import fill

LATENTS = 4


def transformer() -> Ideogram4Transformer2DModel:
    """A transformer of two layers."""
    return Ideogram4Transformer2DModel(
        in_channels=4 * LATENTS,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        intermediate_size=WIDTH,
        adaln_dim=16,
        llm_features_dim=len(QWEN3_VL_ACTIVATION_LAYERS) * WIDTH,
        rope_theta=10_000,
        mrope_section=(2, 1, 1),
    )


def ideogram4(folder: Path) -> None:
    """Save an Ideogram 4."""
    tokenizer = tokenizers.qwen()
    vae = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8,) * 4,
        layers_per_block=1,
        latent_channels=LATENTS,
        norm_num_groups=4,
    )
    pipeline = Ideogram4Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae,
        text_encoder=qwen3_vl(Qwen3VLModel, tokenizer, layers=QWEN3_VL_ACTIVATION_LAYERS[-1] + 1),
        tokenizer=tokenizer,
        transformer=transformer(),
        unconditional_transformer=transformer(),
    )
    fill(pipeline, gain=1.5).save_pretrained(folder)


FAMILIES = (
    Family(
        "ideogram-4",
        ideogram4,
        ("transformer", "unconditional_transformer", "text_encoder"),
        negative=False,
        multiple=16,
        extra={"guidance_schedule": None},  # one of the two may be said
    ),
)
