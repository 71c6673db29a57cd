"""Bases that are made for inpainting: their UNet reads, beside latents, a mask and the picture without what is drawn.

They are opened as the text-to-image class of their family, whose every argument they obey, and draw what diffusers'
class for inpainting draws. A mask is black and white to them: what is grey counts as the nearer of both.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from PIL.Image import Image as Picture
from torch import Tensor, nn
from torch.nn.functional import interpolate

from app.shared.wire.model import Inpaint
from workers.models.latents import encoded, why_from_none
from workers.models.pixels import planes_of

# Class of diffusers' for inpainting -> the one that such a base is opened as
OPENED_AS = {
    "StableDiffusionInpaintPipeline": "StableDiffusionPipeline",
    "StableDiffusionXLInpaintPipeline": "StableDiffusionXLPipeline",
}
WHITE = 128  # from which on grey is white


def reads_mask(kind: str, reads: Any, writes: Any) -> bool:
    """Tell whether a UNet, by its channels, reads a mask and a picture beside latents; kind: of its pipeline."""
    known = {*OPENED_AS, *OPENED_AS.values()}
    return kind in known and isinstance(reads, int) and isinstance(writes, int) and reads == 2 * writes + 1


def inpaint_of(pipeline: Any) -> Inpaint:
    """Return how a pipeline draws what a mask leaves open."""
    if why_from_none(pipeline) is not None:
        return "none"
    unet, vae = getattr(pipeline, "unet", None), getattr(pipeline, "vae", None)
    if unet is None or vae is None or "in_channels" not in unet.config:
        return "held"
    channels = unet.config.in_channels, vae.config.get("latent_channels")
    return "native" if reads_mask(type(pipeline).__name__, *channels) else "held"


def black_or_white(mask: Picture) -> Picture:
    """Return a grey mask without grey."""
    return mask.point([255 * (value >= WHITE) for value in range(256)])


@contextmanager
def reading(pipeline: Any, picture: Picture, mask: Picture) -> Iterator[None]:
    """Have the UNet read a mask, black and white, and what of a picture it leaves, until the end (context manager).

    Both have the size that is drawn. Whoever hooks the UNet before is given the latents alone.
    """
    kept = encoded(pipeline, picture, mask)
    # As diffusers does: the first pixel of each latent
    drawn = interpolate(planes_of(mask).float() / 255, size=kept.shape[-2:]).to(kept.device, kept.dtype)
    beside = torch.cat([drawn, kept], dim=1)

    def with_both(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        latents = given[0]
        more = beside.to(latents.dtype).expand(len(latents), -1, -1, -1)
        return (torch.cat([latents, more], dim=1), *given[1:])

    hook = pipeline.unet.register_forward_pre_hook(with_both)
    try:
        yield
    finally:
        hook.remove()


def of_latents(pipeline: Any, prepare: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a pipeline's `prepare_latents` that makes as many channels as a latent has, whatever the UNet reads."""

    @wraps(prepare)
    def prepared(batch_size: int, _channels: int, *inputs: Any, **named: Any) -> Tensor:
        return prepare(batch_size, pipeline.vae.config.latent_channels, *inputs, **named)

    return prepared
