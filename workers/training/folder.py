"""A folder of captioned pictures, as every trainer reads it: NAME.png (or .webp, .jpg) beside NAME.txt."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

KINDS = (".png", ".webp", ".jpg", ".jpeg")


@dataclass(frozen=True, kw_only=True)
class Captioned:
    """One picture [size, size, 3] in 0..1 and the wordings of its caption, one of which is drawn at every showing."""

    picture: np.ndarray
    captions: tuple[str, ...]


def read_folder(folder: Path, size: int) -> list[Captioned]:
    """Every picture of the folder with a caption file of the same name, in order of name.

    Transparent areas become white, other sizes are resized. Raises `FileNotFoundError` when a picture has no caption
    or the folder has no picture.
    """
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in KINDS)
    if not files:
        raise FileNotFoundError(f"no pictures ({', '.join(KINDS)}) in {folder}")
    return [Captioned(picture=_picture(file, size), captions=_captions(file.with_suffix(".txt"))) for file in files]


def tag_frequency(pictures: list[Captioned], folder: Path) -> dict[str, dict[str, int]]:
    """How often each tag of the first wordings occurs, as `ss_tag_frequency` has it: {folder: {tag: count}}."""
    tags = Counter(tag.strip() for picture in pictures for tag in picture.captions[0].split(","))
    return {folder.name: dict(sorted(tags.items()))}


def _picture(file: Path, size: int) -> np.ndarray:
    with Image.open(file) as image:
        rgba = image.convert("RGBA").resize((size, size), Image.Resampling.LANCZOS)
    white = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"), dtype=np.float32) / 255


def _captions(file: Path) -> tuple[str, ...]:
    lines = tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    return lines or ("",)
