"""Wan 2.1, and 2.2 with one transformer for each half of the noise: pictures are videos of one frame."""

from pathlib import Path
from typing import Any

from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.language_models import umt5_encoder
from tests.families.parts import WIDTH
from tests.families.weights import fill

LATENTS = 16
STILL = {"num_frames": 1, "output_type": "pil"}


def codec() -> AutoencoderKLWan:
    """The codec of videos, of factor 8."""
    return AutoencoderKLWan(base_dim=4, z_dim=LATENTS, dim_mult=[1, 1, 1, 1], num_res_blocks=1)


def transformer() -> WanTransformer3DModel:
    """A transformer of two layers."""
    return WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=LATENTS,
        out_channels=LATENTS,
        text_dim=WIDTH,
        freq_dim=16,
        ffn_dim=WIDTH,
        num_layers=2,
        rope_max_seq_len=128,
    )


def assembled(flow_shift: float, **more: Any) -> WanPipeline:
    """A pipeline of either version."""
    tokenizer = tokenizers.t5()
    pipeline = WanPipeline(
        tokenizer=tokenizer,
        text_encoder=umt5_encoder(tokenizer),
        vae=codec(),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=flow_shift
        ),
        transformer=transformer(),
        **more,
    )
    return fill(pipeline)


def wan21(folder: Path) -> None:
    """Save a Wan 2.1."""
    assembled(3.0).save_pretrained(folder)


def wan22(folder: Path) -> None:
    """Save a Wan 2.2; of two steps one is at more noise than the boundary, one at less."""
    assembled(3.0, transformer_2=transformer(), boundary_ratio=0.875).save_pretrained(folder)


def first_frame(output: Any) -> Any:
    """The picture that a video of one frame is."""
    return output.frames[0][0]


FAMILIES = (
    Family("wan-2.1", wan21, ("transformer", "text_encoder"), multiple=16, extra=STILL, picture=first_frame),
    Family(
        "wan-2.2",
        wan22,
        ("transformer", "transformer_2", "text_encoder"),
        multiple=16,
        extra=STILL,
        picture=first_frame,
    ),
)
