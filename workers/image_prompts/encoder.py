"""Image encoders: the one of a pipeline, how each is given a picture, and what it says of it."""

from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.models.transformers.transformer_flux import FluxAttnProcessor, FluxTransformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from PIL.Image import Image, Resampling
from PIL.Image import new as new_image
from torch import Tensor
from transformers import CLIPVisionModelWithProjection
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from app.shared.references import Box
from app.shared.wire.model import ImageEncoder, Reads
from workers.models.components import IMAGE_ENCODER
from workers.models.pixels import pixels_of


def own_encoder(pipeline: Any) -> Any:
    """Return the image encoder of a pipeline; None where it has none that is read here."""
    encoder = getattr(pipeline, IMAGE_ENCODER, None)
    return encoder if isinstance(encoder, CLIPVisionModelWithProjection) else None


def described(encoder: Any) -> ImageEncoder:
    """Return what an image encoder says of a picture."""
    config = encoder.config
    return ImageEncoder(image_embeds=config.projection_dim, hidden_states=config.hidden_size, size=config.image_size)


def takes_image_prompts(pipeline: Any) -> bool:
    """Tell whether image prompts can be put into the attention of a pipeline's denoiser."""
    unet, transformer = getattr(pipeline, "unet", None), getattr(pipeline, "transformer", None)
    if isinstance(unet, UNet2DConditionModel):
        plain = all(type(one) is AttnProcessor2_0 for one in unet.attn_processors.values())
        return plain and unet.encoder_hid_proj is None and any("attn2" in name for name in unet.attn_processors)
    if isinstance(transformer, FluxTransformer2DModel):
        return all(type(one) is FluxAttnProcessor for one in transformer.attn_processors.values())
    return False


def square_of(picture: Image, box: Box) -> Image:
    """Return a square of a picture; what is transparent there, or beyond its edges, is white."""
    white = new_image("RGBA", (box[2] - box[0], box[3] - box[1]), "white")
    white.alpha_composite(picture.convert("RGBA").crop(box))
    return white.convert("RGB")


def encoded(encoder: Any, squares: list[Image], reads: Reads) -> tuple[Tensor, Tensor]:
    """Return what an encoder says of square pictures, and of none of them, as diffusers has it against a prompt.

    Both are (pictures, numbers), or (pictures, parts, numbers) of its hidden states.
    """
    size = encoder.config.image_size
    with torch.inference_mode():
        pixels = torch.stack([_pixels(square, size) for square in squares]).to(encoder.device, encoder.dtype)
        if reads == "image_embeds":
            said = encoder(pixels).image_embeds
            return said, torch.zeros_like(said)
        said, nothing = (
            encoder(one, output_hidden_states=True).hidden_states[-2] for one in (pixels, torch.zeros_like(pixels))
        )
        return said, nothing


def _pixels(square: Image, size: int) -> Tensor:
    """Return a picture as a CLIP reads it, (3, size, size): as transformers' own processor, which needs torchvision."""
    scaled = square.resize((size, size), Resampling.BICUBIC)
    return ((pixels_of(scaled) / 255 - torch.tensor(OPENAI_CLIP_MEAN)) / torch.tensor(OPENAI_CLIP_STD)).permute(2, 0, 1)
