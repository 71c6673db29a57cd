"""What the guided adapters see: every labelled emoji of two vendors, shown somewhere in the picture.

The base knows 606 of these things; a thousand more make sure that a map or a reference is looked at, for no prompt
says how they look.
"""

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from workers.training.emoji import captions, drawings, items
from workers.training.emoji.items import Item
from workers.training.emoji.packages import DRAWINGS

HELD_BACK = 100
"""Labelled emojis, unknown to the base, that no guided adapter is shown: what the figures are made on."""

FLAGS = 9  # the group of flags in the names package
WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One thing with the drawings of it, RGBA [64, 64, 4]: the base's own vendor's first."""

    item: Item
    drawings: tuple[np.ndarray, ...]


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """The base's own items, labelled emojis it does not know, and those of the latter that are held back."""

    known: tuple[Subject, ...]
    unknown: tuple[Subject, ...]
    held_back: tuple[Subject, ...]

    def draw(self, rng: random.Random) -> Subject:
        """One to be shown: a known thing or an unknown one by turns of chance."""
        return rng.choice(self.known if rng.random() < 0.5 else self.unknown)


def load(cache: Path) -> Subjects:
    """Read all drawings; `cache` holds the fetched packages. Items that the base was not shown stay out."""
    catalogue = items.build(cache)
    rest = _with_drawings(_others(cache, {item.hexcode for item in catalogue}), cache)
    chosen = set(random.Random(64).sample(range(len(rest)), HELD_BACK))
    return Subjects(
        known=_with_drawings([item for item in catalogue if not item.held_out], cache),
        unknown=tuple(subject for place, subject in enumerate(rest) if place not in chosen),
        held_back=tuple(subject for place, subject in enumerate(rest) if place in chosen),
    )


def _with_drawings(asked: list[Item], cache: Path) -> tuple[Subject, ...]:
    ours = items.load_drawings(asked, cache)
    # Fluent's files of skin tones do not match their code points.
    theirs = items.load_drawings([item for item in asked if "1F3F" not in item.hexcode], cache, "fluent")
    vendors = (ours, theirs)
    return tuple(
        Subject(item=item, drawings=tuple(drawn[item.name] for drawn in vendors if item.name in drawn))
        for item in asked
    )


def _others(cache: Path, known: set[str]) -> list[Item]:
    files = drawings.index(cache / "noto" / DRAWINGS["noto"])
    entries = json.loads((cache / "names" / "en" / "data.json").read_text(encoding="utf-8"))
    found = []
    for entry in entries:
        item = Item(name=items.plain(entry["label"]), kind="core", hexcode=items.code(entry), tags=items.tags(entry))
        if item.hexcode in files and item.hexcode not in known and entry.get("group") != FLAGS:
            found.append(item)
    return found


def moved(drawing: np.ndarray, rng: random.Random) -> np.ndarray:
    """The drawing mirrored by half, smaller, turned a little and elsewhere in its picture."""
    zoom, turn = rng.uniform(0.6, 1.0), math.radians(rng.uniform(-20, 20))
    room = drawings.SIZE * (1 - zoom) / 2 + 2
    across, down = rng.uniform(-room, room), rng.uniform(-room, room)
    flip = rng.choice((1.0, -1.0))
    cosine, sine, middle = math.cos(turn) / zoom, math.sin(turn) / zoom, drawings.SIZE / 2
    matrix = (
        flip * cosine,
        flip * sine,
        middle - flip * (cosine * (middle + across) + sine * (middle + down)),
        -sine,
        cosine,
        middle + sine * (middle + across) - cosine * (middle + down),
    )
    image = Image.fromarray(np.uint8(np.rint(drawing * 255)), "RGBA").convert("RGBa")
    turned = image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC).convert("RGBA")
    return np.asarray(turned, dtype=np.float32) / 255


def ground(rng: random.Random) -> tuple[str | None, tuple[float, float, float]]:
    """A background and what captions call it: white, more often than not, or one of the eight."""
    if rng.random() < 0.65:
        return None, WHITE
    name = rng.choice(list(drawings.BACKGROUNDS))
    return name, drawings.BACKGROUNDS[name]


def wording(subject: Subject, name: str | None, rng: random.Random, silent: float) -> str:
    """A caption of the subject on the named background; empty, or the word "emoji" alone, with chance `silent`."""
    if rng.random() < silent:
        return rng.choice(("", "", "emoji"))
    return captions.caption(subject.item, name, rng)
