"""Textual inversions bundled in an adapter file: `bundle_emb.<trigger>.<whose>`, with `string_to_param.*` or `clip_g`.

The `*` is literal: A1111 keeps its one vector group under that name. SDXL has one tensor for each of its encoders.
"""

import re
from typing import NamedTuple

ENCODERS = {
    "string_to_param.*": "clip_l",
    "emb_params": "clip_l",
    "clip_l": "clip_l",
    "clip_g": "clip_g",
    "t5xxl": "t5",
}
_NAME = re.compile(r"bundle_emb\.(?P<trigger>.+)\.(?P<leaf>" + "|".join(map(re.escape, ENCODERS)) + ")")


class Embedding(NamedTuple):
    """Whose vectors a bundled tensor (n, width) holds: the word that calls them, and the text encoder they are for."""

    trigger: str
    encoder: str


def embedding_of(name: str) -> Embedding | None:
    """Return which embedding a tensor of this name is, or None if it is none."""
    found = _NAME.fullmatch(name)
    return Embedding(found["trigger"], ENCODERS[found["leaf"]]) if found else None
