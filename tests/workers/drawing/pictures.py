"""Pictures and masks, made up, and where a store keeps them."""

import numpy as np
from PIL import Image


def gradient(width: int, height: int, seed: int = 0) -> Image.Image:
    """Soft colours, no two places alike."""
    corners = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC)


def spot(width: int, height: int, at: tuple[float, float] = (0.5, 0.5), share: float = 0.25) -> Image.Image:
    """A mask: a white rectangle on black, its middle and its edges as shares of the whole."""
    mask = Image.new("RGB", (width, height))
    wide, high = max(1, round(width * share)), max(1, round(height * share))
    left, top = round((width - wide) * at[0]), round((height - high) * at[1])
    mask.paste((255, 255, 255), (left, top, left + wide, top + high))
    return mask
