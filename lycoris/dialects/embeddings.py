"""Textual inversions bundled in an adapter file: `bundle_emb.<trigger>.<whose>`, with `string_to_param.*` or `clip_g`.

The `*` is literal: A1111 keeps its one vector group under that name. SDXL has one tensor for each of its encoders.
"""

import re
import unicodedata
from typing import NamedTuple

EMBEDDING_PREFIX = "bundle_emb."
ENCODERS = {
    "string_to_param.*": "clip_l",
    "emb_params": "clip_l",
    "clip_l": "clip_l",
    "clip_g": "clip_g",
    "t5": "t5",  # OneTrainer
    "t5xxl": "t5",  # ComfyUI
}
# Characters with nothing to show: control, formatting, half a pair, private, separators of lines and paragraphs
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
JOINERS = "\u200c\u200d"  # formatting that words of Persian and Hindi, and emoji, are written with
_NAME = re.compile(
    re.escape(EMBEDDING_PREFIX) + r"(?P<trigger>.+)\.(?P<leaf>" + "|".join(map(re.escape, ENCODERS)) + ")"
)
_CLIP_TABLE, _T5_TABLE = "embeddings.token_embedding.weight", "shared.weight"
# What files call a text encoder, the component that may be it, and how the name of its table of vectors ends
TEXT_ENCODERS = (
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


def spellable(name: str) -> bool:
    """Tell whether a tensor may have this name, if it is an embedding's: words are data, in whatever letters.

    Not if it holds a control character, half a character or one that nobody else knows, or the steps of a path.
    """
    path = name.removeprefix(EMBEDDING_PREFIX).replace("\\", "/")
    if path.startswith("/") or ".." in path.split("/"):
        return False
    return all(unicodedata.category(char) not in HIDDEN or char in JOINERS for char in name)


def usable_trigger(trigger: str) -> bool:
    """Tell whether a trigger can stand in a prompt as a word that nothing else is: no bare ends, more than signs."""
    kinds = {unicodedata.category(char) for char in trigger}
    return trigger == trigger.strip() and any(kind[0] in "LN" or kind == "So" for kind in kinds)  # So: an emoji


def folded_trigger(trigger: str) -> str:
    """Return what is the same for triggers that are one word to a tokenizer, or to the eye."""
    return " ".join(unicodedata.normalize("NFKC", trigger).casefold().split())
