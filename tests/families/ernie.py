"""Ernie-Image: Mistral 3, and a language model that writes prompts anew, which is not used here."""

from pathlib import Path
from typing import Any

from diffusers import (
    AutoencoderKLFlux2,
    ErnieImagePipeline,
    ErnieImageTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
)
from transformers import Ministral3Config, Ministral3ForCausalLM, Mistral3Config, Mistral3Model

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.language_models import decoder_sizes
from tests.families.parts import WIDTH
from tests.families.weights import fill

LATENTS = 4
SIGHT: dict[str, Any] = {
    "model_type": "pixtral",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "head_dim": 8,
    "intermediate_size": 16,
    "image_size": 28,
    "patch_size": 14,
}


def ernie(folder: Path) -> None:
    """Save an Ernie-Image with its writer of prompts."""
    tokenizer = tokenizers.mistral(1024)
    text = decoder_sizes(tokenizer, layers=3) | {"model_type": "ministral3", "head_dim": 16}
    transformer = ErnieImageTransformer2DModel(
        hidden_size=32,
        num_attention_heads=2,
        num_layers=2,
        ffn_hidden_size=32,
        in_channels=4 * LATENTS,
        out_channels=4 * LATENTS,
        patch_size=1,
        text_in_dim=WIDTH,
        rope_theta=256,
        rope_axes_dim=(8, 4, 4),
    )
    vae = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8,) * 4,
        layers_per_block=1,
        latent_channels=LATENTS,
        norm_num_groups=4,
    )
    pipeline = ErnieImagePipeline(
        transformer=transformer,
        vae=vae,
        text_encoder=Mistral3Model(Mistral3Config(text_config=text, vision_config=SIGHT)),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        pe=Ministral3ForCausalLM(Ministral3Config(**{k: v for k, v in text.items() if k != "model_type"})),
        pe_tokenizer=tokenizers.mistral(64),
    )
    fill(pipeline).save_pretrained(folder)


FAMILIES = (
    Family(
        "ernie-image",
        ernie,
        ("transformer", "text_encoder"),
        multiple=16,
        extra={"use_pe": False},
    ),
)
