"""Textual inversions bundled in an adapter file: `bundle_emb.<trigger>.<whose>`, with `string_to_param.*` or `clip_g`.

The `*` is literal: A1111 keeps its one vector group under that name. SDXL has one tensor for each of its encoders.
"""

import re
from typing import NamedTuple

PREFIX = "bundle_emb."
ENCODERS = {
    "string_to_param.*": "clip_l",
    "emb_params": "clip_l",
    "clip_l": "clip_l",
    "clip_g": "clip_g",
    "t5": "t5",  # OneTrainer
    "t5xxl": "t5",  # ComfyUI
}
_NAME = re.compile(re.escape(PREFIX) + r"(?P<trigger>.+)\.(?P<leaf>" + "|".join(map(re.escape, ENCODERS)) + ")")
_CLIP_TABLE, _T5_TABLE = "embeddings.token_embedding.weight", "shared.weight"
# What files call a text encoder, the component that may be it, and how the name of its table of vectors ends
ROLES = (
    ("clip_l", "text_encoder", _CLIP_TABLE),
    ("clip_g", "text_encoder_2", _CLIP_TABLE),
    ("t5", "text_encoder", _T5_TABLE),
    ("t5", "text_encoder_2", _T5_TABLE),
    ("t5", "text_encoder_3", _T5_TABLE),
)


class Embedding(NamedTuple):
    """Whose vectors a bundled tensor (n, width) holds: the word that calls them, and the text encoder they are for."""

    trigger: str
    encoder: str


def embedding_of(name: str) -> Embedding | None:
    """Return which embedding a tensor of this name is, or None if it is none."""
    found = _NAME.fullmatch(name)
    return Embedding(found["trigger"], ENCODERS[found["leaf"]]) if found else None


def usable(trigger: str) -> bool:
    """Tell whether a trigger can stand in a prompt as a word that nothing else is: letters or digits, no bare ends."""
    return trigger == trigger.strip() and any(character.isalnum() for character in trigger)
