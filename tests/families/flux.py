"""FLUX.1 [dev] and [schnell], and Chroma that was made of the second."""

from pathlib import Path
from typing import Any

from diffusers import (
    ChromaPipeline,
    ChromaTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
)

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.parts import WIDTH, clip_encoder, kl_codec, t5_encoder
from tests.families.weights import fill

BLOCKS: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 16,  # 2×2 latents of 4 channels
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": WIDTH,
    "axes_dims_rope": (4, 4, 8),
}
CODEC: dict[str, Any] = {
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "shift_factor": 0.1159,
    "scaling_factor": 0.3611,
}


def _flux(folder: Path, *, guided: bool, kind: Any = FluxPipeline) -> None:
    first, second = tokenizers.clip(), tokenizers.t5()
    pipeline = kind(
        transformer=FluxTransformer2DModel(**BLOCKS, pooled_projection_dim=WIDTH, guidance_embeds=guided),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=guided, shift=3.0 if guided else 1.0),
        vae=kl_codec(**CODEC),
        text_encoder=clip_encoder(first),
        tokenizer=first,
        text_encoder_2=t5_encoder(second),
        tokenizer_2=second,
    )
    fill(pipeline).save_pretrained(folder)


def dev(folder: Path) -> None:
    """Save a FLUX.1 [dev]: its guidance is embedded."""
    _flux(folder, guided=True)


def kontext(folder: Path) -> None:
    """Save a FLUX.1 Kontext [dev], which edits a picture."""
    _flux(folder, guided=True, kind=FluxKontextPipeline)


def schnell(folder: Path) -> None:
    """Save a FLUX.1 [schnell]: it reads no guidance."""
    _flux(folder, guided=False)


def chroma(folder: Path) -> None:
    """Save a Chroma: T5 alone, true guidance, and modulations that a small network makes."""
    tokenizer = tokenizers.t5()
    transformer = ChromaTransformer2DModel(
        **BLOCKS, approximator_hidden_dim=32, approximator_layers=1, approximator_num_channels=16
    )
    pipeline = ChromaPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=kl_codec(**CODEC),
        text_encoder=t5_encoder(tokenizer),
        tokenizer=tokenizer,
    )
    fill(pipeline).save_pretrained(folder)


OF_FLUX = ("transformer", "text_encoder", "text_encoder_2")
FAMILIES = (
    Family("flux.1-dev", dev, OF_FLUX, negative=False, multiple=16),
    Family("flux.1-schnell", schnell, OF_FLUX, guidance=None, negative=False, multiple=16),
    Family(
        "flux.1-kontext",
        kontext,
        OF_FLUX,
        negative=False,
        multiple=16,
        extra={"_auto_resize": False, "max_area": 64 * 64},
    ),
    Family("chroma", chroma, ("transformer", "text_encoder"), multiple=16),
)
