"""What can be asked of the bundled model, as the JSON file that lies beside its weights."""

import json

from workers.training.emoji.drawings import BACKGROUNDS
from workers.training.emoji.items import Item

SUGGESTIONS = (
    "a photo of a cat",
    "a red apple",
    "a cute fox",
    "a rocket on a blue background",
    "a purple car",
    "a slice of pizza",
    "a green dress",
    "waving hand, medium skin tone",
    "an octopus",
    "a blue butterfly on a yellow background",
    "a sunflower",
    "a robot",
)
"""Prompts for the page to offer: each is drawn well, together they show colour, tone and background."""


def as_json(catalogue: list[Item]) -> str:
    """`trained`, `held_out`, `backgrounds` and `suggestions`, each a list of prompts or colours."""
    lists = {
        "trained": [item.name for item in catalogue if not item.held_out],
        "held_out": [item.name for item in catalogue if item.held_out],
        "backgrounds": list(BACKGROUNDS),
        "suggestions": list(SUGGESTIONS),
    }
    return json.dumps(lists, ensure_ascii=False, indent=0) + "\n"
