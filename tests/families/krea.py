"""Krea 2: several layers of Qwen 3 VL for each token of the prompt."""

from pathlib import Path

from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, Krea2Pipeline, Krea2Transformer2DModel
from transformers import Qwen3VLModel

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.hunyuan import TEMPLATE
from tests.families.language_models import qwen3_vl
from tests.families.parts import WIDTH
from tests.families.weights import fill

CHANNELS = 4  # of latents
READ = (0, 1, 2)  # states of the text encoder


def krea2(folder: Path) -> None:
    """Save a Krea 2."""
    tokenizer = tokenizers.qwen(words=TEMPLATE)
    transformer = Krea2Transformer2DModel(
        in_channels=4 * CHANNELS,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=WIDTH,
        timestep_embed_dim=8,
        text_hidden_dim=WIDTH,
        num_text_layers=len(READ),
        text_num_attention_heads=2,
        text_num_key_value_heads=2,
        text_intermediate_size=WIDTH,
        num_layerwise_text_blocks=1,
        num_refiner_text_blocks=1,
        axes_dims_rope=(4, 2, 2),
    )
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=CHANNELS,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.0] * CHANNELS,
        latents_std=[1.0] * CHANNELS,
    )
    pipeline = Krea2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, base_image_seq_len=256, max_image_seq_len=6400
        ),
        vae=vae,
        text_encoder=qwen3_vl(Qwen3VLModel, tokenizer),
        tokenizer=tokenizer,
        transformer=transformer,
        text_encoder_select_layers=READ,
    )
    fill(pipeline).save_pretrained(folder)


FAMILIES = (Family("krea-2", krea2, ("transformer", "text_encoder"), multiple=16),)
