"""Stable Diffusion 3: a transformer that reads two CLIPs and T5."""

from pathlib import Path

from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.parts import WIDTH, clip_encoder, kl_codec, t5_encoder
from tests.families.weights import fill

LATENTS = 16  # by which diffusers tells a plain one from one for inpainting


def sd3(folder: Path) -> None:
    """Save a Stable Diffusion 3."""
    first, second, third = tokenizers.clip(), tokenizers.clip(), tokenizers.t5()
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=LATENTS,
        out_channels=LATENTS,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=2 * WIDTH,  # as the two CLIPs side by side
        caption_projection_dim=32,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=16,
    )
    pipeline = StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=kl_codec(
            LATENTS, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.0609, scaling_factor=1.5305
        ),
        text_encoder=clip_encoder(first, projected=True),
        tokenizer=first,
        text_encoder_2=clip_encoder(second, projected=True),
        tokenizer_2=second,
        text_encoder_3=t5_encoder(third, d_model=2 * WIDTH),
        tokenizer_3=third,
    )
    fill(pipeline).save_pretrained(folder)


FAMILIES = (Family("sd-3", sd3, ("transformer", "text_encoder", "text_encoder_2", "text_encoder_3"), multiple=16),)
