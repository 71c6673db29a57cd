"""Drawings as arrays: reading a vendor's folder, recolouring one hue, laying a drawing on a background.

A drawing is float32 [64, 64, 4], RGBA in 0..1, straight alpha; a picture is float32 [64, 64, 3] in 0..1.
"""

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 64

BACKGROUNDS = {
    "red": (0.90, 0.30, 0.28),
    "orange": (0.98, 0.66, 0.30),
    "yellow": (0.99, 0.90, 0.45),
    "green": (0.55, 0.82, 0.52),
    "blue": (0.50, 0.72, 0.95),
    "purple": (0.72, 0.58, 0.90),
    "pink": (0.98, 0.72, 0.82),
    "black": (0.08, 0.08, 0.10),
}
"""The eight backgrounds beside white, by the name that captions use."""

HUES = {"red": 0.0, "orange": 0.075, "yellow": 0.14, "green": 0.34, "blue": 0.59, "purple": 0.76, "pink": 0.92}
"""Hue (0..1) of each colour that an object can be recoloured to."""

_SHADE = {"red": (1.0, 1.0), "orange": (1.0, 1.05), "yellow": (0.9, 1.15), "green": (0.9, 0.85), "blue": (0.95, 1.0)}
_SHADE |= {"purple": (0.75, 0.92), "pink": (0.62, 1.15)}


def index(folder: Path) -> dict[str, Path]:
    """Every drawing of a vendor's folder by its code points in upper case ("1F34E", "1F44B-1F3FB"), VS-16 left out."""
    files = sorted([*folder.glob("*.png"), *folder.glob("*.webp")])
    return {file.stem.upper().replace("-FE0F", ""): file for file in files}


def read(path: Path) -> np.ndarray:
    """One drawing, resized to 64×64 (Lanczos, premultiplied so that no dark rim appears)."""
    with Image.open(path) as image:
        rgba = image.convert("RGBA")
        if rgba.size != (SIZE, SIZE):
            rgba = rgba.convert("RGBa").resize((SIZE, SIZE), Image.Resampling.LANCZOS).convert("RGBA")
        return np.asarray(rgba, dtype=np.float32) / 255


def lay(drawing: np.ndarray, background: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """The drawing on a plain background."""
    alpha = drawing[..., 3:]
    return drawing[..., :3] * alpha + np.asarray(background, dtype=np.float32) * (1 - alpha)


def recolour(drawing: np.ndarray, colour: str) -> np.ndarray:
    """The same drawing with its dominant hue turned to `colour`; other hues, greys and the alpha channel stay."""
    hsv = np.asarray(_to_image(drawing[..., :3]).convert("HSV"), dtype=np.float32) / 255
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
    dominant = _dominant_hue(hue, saturation * value * drawing[..., 3])
    offset = (hue - dominant + 0.5) % 1 - 0.5
    # Full effect within 40 degrees of the dominant hue, none beyond 60: anti-aliased edges stay smooth.
    share = np.clip((60 / 360 - np.abs(offset)) / (20 / 360), 0, 1) * np.clip((saturation - 0.1) / 0.15, 0, 1)
    shade_saturation, shade_value = _SHADE[colour]
    turned = np.stack(
        [
            (HUES[colour] + 0.4 * offset) % 1,
            np.clip(saturation * shade_saturation, 0, 1),
            np.clip(value * shade_value, 0, 1),
        ],
        axis=-1,
    )
    new = np.asarray(Image.fromarray(np.uint8(np.rint(turned * 255)), "HSV").convert("RGB"), dtype=np.float32) / 255
    rgb = drawing[..., :3] * (1 - share[..., None]) + new * share[..., None]
    return np.concatenate([rgb, drawing[..., 3:]], axis=-1).astype(np.float32)


def _dominant_hue(hue: np.ndarray, weight: np.ndarray) -> float:
    histogram = np.histogram(hue, bins=36, range=(0, 1), weights=weight)[0]
    smooth = histogram + np.roll(histogram, 1) + np.roll(histogram, -1)
    centre = (int(smooth.argmax()) + 0.5) / 36
    near = (hue - centre + 0.5) % 1 - 0.5
    mask = weight * (np.abs(near) < 1.5 / 36)
    return float(centre + (near * mask).sum() / max(mask.sum(), 1e-6))


def _to_image(rgb: np.ndarray) -> Image.Image:
    return Image.fromarray(np.uint8(np.rint(rgb * 255)), "RGB")
