"""LongCat-Image: Qwen 2.5 VL, which by diffusers' default writes the prompt anew first; not here."""

from pathlib import Path

from diffusers import FlowMatchEulerDiscreteScheduler, LongCatImagePipeline, LongCatImageTransformer2DModel

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.language_models import qwen25_vl
from tests.families.parts import WIDTH, kl_codec
from tests.families.processors import opened_for_text, processor, save_as
from tests.families.weights import fill

LATENTS = 16  # the pipeline says so itself


def longcat(folder: Path) -> None:
    """Save a LongCat-Image."""
    tokenizer = tokenizers.qwen()
    transformer = LongCatImageTransformer2DModel(
        in_channels=4 * LATENTS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        axes_dims_rope=[4, 4, 8],
    )
    pipeline = LongCatImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=kl_codec(LATENTS, scaling_factor=0.3611, shift_factor=0.1159),
        text_encoder=qwen25_vl(tokenizer),
        tokenizer=tokenizer,
        text_processor=processor(tokenizer),
        transformer=transformer,
    )
    save_as(fill(pipeline, gain=1.5), folder, text_processor="Qwen2_5_VLProcessor")


FAMILIES = (
    Family(
        "longcat-image",
        longcat,
        ("transformer", "text_encoder"),
        open=opened_for_text,
        multiple=16,
        extra={"enable_prompt_rewrite": False},
    ),
)
