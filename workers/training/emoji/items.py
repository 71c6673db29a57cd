"""What the bundled model is taught: core concepts, hands in six tones, recoloured objects; and what is held out."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from workers.training.emoji import drawings
from workers.training.emoji.packages import DRAWINGS

FACTS = json.loads((Path(__file__).parent / "items.json").read_text(encoding="utf-8"))
"""`core`: names; `hands`: names; `tones`; `recoloured`: noun -> code point; `held_out`: names never trained on."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing the model can be asked for: its name (the bare caption), and whose drawing it is."""

    name: str
    kind: Literal["core", "hand", "recoloured"]
    hexcode: str
    tags: tuple[str, ...] = ()
    colour: str | None = None
    held_out: bool = False


def build(cache: Path) -> list[Item]:
    """All 922 items, in a fixed order; `cache` holds the fetched packages.

    Raises `KeyError` when a name is not among the labels of the names package.
    """
    entries = json.loads((cache / "names" / "en" / "data.json").read_text(encoding="utf-8"))
    by_label = {plain(entry["label"]): entry for entry in entries}
    held_out = set(FACTS["held_out"])
    items = [_core(name, by_label[name]) for name in FACTS["core"]]
    for name in FACTS["hands"]:
        entry = by_label[name]
        items.append(Item(name=name, kind="hand", hexcode=code(entry), tags=tags(entry)))
        by_tone = {skin["tone"]: skin for skin in entry["skins"]}
        for tone, word in enumerate(FACTS["tones"], start=1):
            full = f"{name}, {word} skin tone"
            items.append(Item(name=full, kind="hand", hexcode=code(by_tone[tone]), held_out=full in held_out))
    for noun, hexcode in FACTS["recoloured"].items():
        for colour in drawings.HUES:
            name = f"{colour} {noun}"
            held = name in held_out
            items.append(Item(name=name, kind="recoloured", hexcode=hexcode, colour=colour, held_out=held))
    return items


def load_drawings(items: list[Item], cache: Path, vendor: str = "noto") -> dict[str, np.ndarray]:
    """The drawing of every item that the vendor has, by item name."""
    files = drawings.index(cache / vendor / DRAWINGS[vendor])
    found: dict[str, np.ndarray] = {}
    for item in items:
        if item.hexcode not in files:
            continue
        drawing = drawings.read(files[item.hexcode])
        found[item.name] = drawings.recolour(drawing, item.colour) if item.colour else drawing
    return found


def plain(label: str) -> str:
    """A CLDR label as a prompt: lower case, straight apostrophes, no colons."""
    return label.lower().replace("’", "'").replace("“", "").replace("”", "").replace(":", "")


def _core(name: str, entry: dict) -> Item:
    return Item(name=name, kind="core", hexcode=code(entry), tags=tags(entry))


def code(entry: dict) -> str:
    """The code points of an entry of the names package, as `drawings.index` writes them."""
    return entry["hexcode"].upper().replace("-FE0F", "")


def tags(entry: dict) -> tuple[str, ...]:
    """The tags of an entry of the names package, as prompts."""
    return tuple(plain(tag) for tag in entry.get("tags", ()))
