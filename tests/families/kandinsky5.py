"""Kandinsky 5, text to image: Qwen 2.5 VL and CLIP, drawn at seven sizes alone."""

from pathlib import Path
from typing import Any

from diffusers import FlowMatchEulerDiscreteScheduler, Kandinsky5T2IPipeline, Kandinsky5Transformer3DModel

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.hunyuan import TEMPLATE
from tests.families.language_models import qwen25_vl
from tests.families.parts import WIDTH, clip_encoder, kl_codec
from tests.families.processors import opened_for_text, processor, save_as
from tests.families.weights import fill

LATENTS = 4


def kandinsky5(folder: Path) -> None:
    """Save a Kandinsky 5."""
    words = tokenizers.qwen(words=(*TEMPLATE, "You", "are", "prompt", "engineer"))
    tokenizer_2 = tokenizers.clip()
    transformer = Kandinsky5Transformer3DModel(
        in_visual_dim=LATENTS,
        out_visual_dim=LATENTS,
        in_text_dim=WIDTH,
        in_text_dim2=WIDTH,
        time_dim=16,
        model_dim=16,
        ff_dim=WIDTH,
        num_text_blocks=1,
        num_visual_blocks=2,
        axes_dims=(2, 2, 4),
    )
    pipeline = Kandinsky5T2IPipeline(
        transformer=transformer,
        vae=kl_codec(LATENTS, block_out_channels=(4, 4, 8, 8), mid_block_add_attention=False),
        text_encoder=qwen25_vl(words),
        tokenizer=processor(words),
        text_encoder_2=clip_encoder(tokenizer_2),
        tokenizer_2=tokenizer_2,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    save_as(fill(pipeline), folder, tokenizer="Qwen2_5_VLProcessor")


def only_image(output: Any) -> Any:
    """The picture where the output calls it `image`."""
    return output.image[0]


FAMILIES = (
    Family(
        "kandinsky-5",
        kandinsky5,
        ("transformer", "text_encoder", "text_encoder_2"),
        open=opened_for_text,
        size=(640, 1408),
        picture=only_image,
    ),
)
