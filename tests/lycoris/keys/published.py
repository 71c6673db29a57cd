"""Key lists of published adapters, written down in a short form: `published.json`, and how to read it.

Each list: where it was seen, the model that it is for, and its layers as (names, outputs, inputs). `{0..18}` in a name
stands for each of these numbers, `{q,k}` for each of these words. `forms` says which tensors each layer has, as the
axes of their shapes: o, i and r are outputs, inputs and rank, `o/4` a part of them. `whole` are tensors with shapes of
their own.
"""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LISTS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "published.json").read_text())
_CHOICE = re.compile(r"\{([^}]*)\}")


def tensors(name: str) -> dict[str, list[int]]:
    """Return the tensor names and shapes of a published list."""
    held = LISTS[name]
    found: dict[str, list[int]] = {}
    for names, outputs, inputs in held.get("layers", []):
        sizes = {"o": outputs, "i": inputs, "r": min(held.get("rank", 0), inputs)}
        for layer in spelled(names):
            found |= {f"{layer}.{suffix}": _shape(axes, sizes) for suffix, axes in held["forms"].items()}
    whole: dict[str, list[int]] = held.get("whole", {})
    for names, shape in whole.items():
        found |= dict.fromkeys(spelled(names), shape)
    return found


def spelled(names: str) -> Iterator[str]:
    """Yield every name that a short form stands for."""
    parts = _CHOICE.split(names)  # text, choice, text, choice, …
    choices = [list(_choices(part)) if k % 2 else [part] for k, part in enumerate(parts)]
    return ("".join(chosen) for chosen in itertools.product(*choices))


def _choices(text: str) -> Iterator[str]:
    first, dots, last = text.partition("..")
    return iter(map(str, range(int(first), int(last) + 1))) if dots else iter(text.split(","))


def _shape(axes: str, sizes: dict[str, int]) -> list[int]:
    shape: list[int] = []
    for axis in axes.split():
        letter, _, parts = axis.partition("/")
        shape.append(sizes[letter] // int(parts or 1) if letter in sizes else int(letter))
    return shape
