"""Two styles to teach: another vendor's drawings, and stripes that leave composition and colour as they are."""

import random
from pathlib import Path

import numpy as np
from PIL import Image

from workers.training.emoji import captions, drawings
from workers.training.emoji.items import FACTS, Item

NAMES = ("fluent-3d", "striped")

PERIOD = 8
"""Rows from one stripe to the next: the codec's patch, for its latents keep little that is finer."""

HELD_OUT = 60
"""Concepts that no adapter is shown: what it draws of them is what the measurements are made on."""

VARIANTS = 8
"""Wordings written for each picture."""


def striped(drawing: np.ndarray) -> np.ndarray:
    """The drawing filled with bands of its own colours, light and dark by turns -> picture [64, 64, 3] on white."""
    rows = np.arange(drawings.SIZE)[:, None, None]
    light = np.clip(0.5 + 1.5 * np.cos(2 * np.pi * rows / PERIOD), 0, 1)
    picture = drawings.lay(drawing)
    banded = light * (picture + 0.72 * (1 - picture)) + (1 - light) * 0.72 * picture
    alpha = drawing[..., 3:]
    return (banded * alpha + (1 - alpha)).astype(np.float32)


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """How alike two vendors draw a thing, higher is more: overlap of the silhouettes less the difference of colour."""
    first, second = one[..., 3] > 0.5, other[..., 3] > 0.5
    overlap = (first & second).sum() / max((first | second).sum(), 1)
    blocks = [drawings.lay(drawing).reshape(8, 8, 8, 8, 3).mean((1, 3)) for drawing in (one, other)]
    return float(overlap - 2 * np.abs(blocks[0] - blocks[1]).mean())


def split(
    catalogue: list[Item], ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]
) -> tuple[list[str], list[str]]:
    """Names to teach a style with and names held out, of core concepts that both vendors draw alike.

    An adapter that is shown unlike drawings learns shapes in place of a style.
    """
    shared = [item.name for item in catalogue if item.kind == "core" and item.name in theirs]
    shared.sort(key=lambda name: alike(ours[name], theirs[name]), reverse=True)
    chosen = sorted(shared[: 2 * len(shared) // 3])
    held_out = set(random.Random(64).sample([name for name in chosen if name in FACTS["core"]], HELD_OUT))
    return [name for name in chosen if name not in held_out], sorted(held_out)


def pictures(
    style: str, names: list[str], ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What each name looks like in the style. Raises `KeyError` for a style that is not in the table."""
    make = {
        "fluent-3d": lambda name: drawings.lay(theirs[name]),
        "striped": lambda name: striped(ours[name]),
    }[style]
    return {name: make(name) for name in names}


def write_folder(folder: Path, drawn: dict[str, np.ndarray], catalogue: list[Item], seed: int = 64) -> None:
    """Write captioned pictures as any trainer reads them: NAME.png, and NAME.txt with one wording a line."""
    folder.mkdir(parents=True, exist_ok=True)
    by_name = {item.name: item for item in catalogue}
    rng = random.Random(seed)
    for name, picture in drawn.items():
        stem = "".join(letter if letter.isalnum() else "-" for letter in name)
        Image.fromarray(np.uint8(np.rint(picture.clip(0, 1) * 255))).save(folder / f"{stem}.png")
        wordings = [name, *(captions.caption(by_name[name], None, rng) for _ in range(VARIANTS - 1))]
        (folder / f"{stem}.txt").write_text("\n".join(wordings) + "\n", encoding="utf-8")
