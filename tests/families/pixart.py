"""PixArt-α and PixArt-Σ: a transformer that reads T5, drawn at the nearest of a table of sizes."""

from pathlib import Path
from typing import Any

from diffusers import DPMSolverMultistepScheduler, PixArtAlphaPipeline, PixArtSigmaPipeline, PixArtTransformer2DModel

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.parts import WIDTH, kl_codec, t5_encoder
from tests.families.weights import fill

LATENTS = 4
SAMPLE = 32
AS_ASKED = {"use_resolution_binning": False, "clean_caption": False}  # else resized, and its words changed


def assembled(kind: Any) -> Any:
    """A pipeline of either kind."""
    tokenizer = tokenizers.t5()
    transformer = PixArtTransformer2DModel(
        sample_size=SAMPLE,
        num_layers=2,
        patch_size=2,
        num_attention_heads=2,
        attention_head_dim=8,
        caption_channels=WIDTH,
        cross_attention_dim=16,
        in_channels=LATENTS,
        out_channels=2 * LATENTS,  # the noise and its variance
    )
    scheduler = DPMSolverMultistepScheduler(beta_schedule="linear", algorithm_type="dpmsolver++")
    pipeline = kind(
        tokenizer=tokenizer,
        text_encoder=t5_encoder(tokenizer),
        vae=kl_codec(),
        transformer=transformer,
        scheduler=scheduler,
    )
    return fill(pipeline)


def alpha(folder: Path) -> None:
    """Save a PixArt-α."""
    assembled(PixArtAlphaPipeline).save_pretrained(folder)


def sigma(folder: Path) -> None:
    """Save a PixArt-Σ."""
    assembled(PixArtSigmaPipeline).save_pretrained(folder)


FAMILIES = (
    Family("pixart-alpha", alpha, ("transformer", "text_encoder"), multiple=16, extra=AS_ASKED),
    Family("pixart-sigma", sigma, ("transformer", "text_encoder"), multiple=16, extra=AS_ASKED),
)
