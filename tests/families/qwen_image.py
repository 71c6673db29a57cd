"""Qwen-Image: a transformer that reads Qwen2.5-VL behind a template; and the ones that change pictures."""

from pathlib import Path
from typing import Any

from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)

from tests.families import tokenizers
from tests.families.family import Family
from tests.families.language_models import qwen25_vl
from tests.families.parts import WIDTH
from tests.families.processors import opened_for_text, save_as, seeing
from tests.families.weights import fill

# Words of the pipeline's template that are one token each in the true vocabulary
TEMPLATE = (
    *("Describe", "image", "by", "detailing", "color", "shape", "size", "texture", "quantity", "spatial"),
    *("relationships", "objects", "background"),
)
CHANNELS = 4  # of latents


def codec() -> AutoencoderKLQwenImage:
    """The codec that Qwen-Image has: of films, used with a single frame."""
    return AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=CHANNELS,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * CHANNELS,
        latents_std=[1.0] * CHANNELS,
    )


def _made(kind: Any, **processors: Any) -> Any:
    tokenizer = tokenizers.qwen(1024, words=TEMPLATE)
    transformer = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=4 * CHANNELS,
        out_channels=CHANNELS,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(8, 4, 4),
    )
    pipeline = kind(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=codec(),
        text_encoder=qwen25_vl(tokenizer, layers=2),
        tokenizer=tokenizer,
        **{name: made(tokenizer) for name, made in processors.items()},
    )
    return fill(pipeline)


def qwen_image(folder: Path) -> None:
    """Save a Qwen-Image."""
    _made(QwenImagePipeline).save_pretrained(folder)


def edit(folder: Path) -> None:
    """Save a Qwen-Image-Edit, which changes one picture."""
    save_as(_made(QwenImageEditPipeline, processor=seeing), folder, processor="Qwen2VLProcessor")


def edit_plus(folder: Path) -> None:
    """Save a Qwen-Image-Edit of 2509, which is shown several."""
    save_as(_made(QwenImageEditPlusPipeline, processor=seeing), folder, processor="Qwen2VLProcessor")


SAME: dict[str, Any] = {
    "components": ("transformer", "text_encoder"),
    "guidance": "true_cfg_scale",
    "multiple": 16,
    "extra": {"negative_prompt": ""},  # without one it is not guided
}
FAMILIES = (
    Family("qwen-image", qwen_image, **SAME),
    Family("qwen-image-edit", edit, **SAME, open=opened_for_text, shown=True),
    Family("qwen-image-edit-plus", edit_plus, **SAME, open=opened_for_text, shown=True),
)
