"""Textual inversions in an adapter file: `bundle_emb.<trigger>.<encoder>`, such as `string_to_param.*` or `clip_g`.

The `*` is literal: A1111 stores its one group of vectors under that name. SDXL has one tensor for each text encoder.
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
# Characters that show nothing: control, formatting, half a pair, private, separators of lines and paragraphs
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
JOINERS = "\u200c\u200d"  # formatting that words of Persian and Hindi, and emoji, are written with
_NAME = re.compile(
    re.escape(EMBEDDING_PREFIX) + r"(?P<trigger>.+)\.(?P<leaf>" + "|".join(map(re.escape, ENCODERS)) + ")"
)
_CLIP_TABLE, _T5_TABLE = "embeddings.token_embedding.weight", "shared.weight"
# The name of a text encoder in files, the component that it may be, and the end of its token table's name
TEXT_ENCODERS = (
    ("clip_l", "text_encoder", _CLIP_TABLE),
    ("clip_g", "text_encoder_2", _CLIP_TABLE),
    ("t5", "text_encoder", _T5_TABLE),
    ("t5", "text_encoder_2", _T5_TABLE),
    ("t5", "text_encoder_3", _T5_TABLE),
)


class Embedding(NamedTuple):
    """The trigger word and the text encoder of a tensor (n, width) of vectors."""

    trigger: str
    encoder: str


def embedding_of(name: str) -> Embedding | None:
    """Return the embedding that a tensor of this name belongs to, or None if it belongs to none."""
    found = _NAME.fullmatch(name)
    return Embedding(found["trigger"], ENCODERS[found["leaf"]]) if found else None


def spellable(name: str) -> bool:
    """Tell whether an embedding's tensor may have this name: trigger words are data, in any letters.

    False for control characters, half a character, private characters, and the steps of a path.
    """
    path = name.removeprefix(EMBEDDING_PREFIX).replace("\\", "/")
    if path.startswith("/") or ".." in path.split("/"):
        return False
    return all(unicodedata.category(char) not in HIDDEN or char in JOINERS for char in name)


def usable_trigger(trigger: str) -> bool:
    """Tell whether a trigger can be a word of a prompt: it holds a letter or digit and has no space at either end."""
    kinds = {unicodedata.category(char) for char in trigger}
    return trigger == trigger.strip() and any(kind[0] in "LN" or kind == "So" for kind in kinds)  # So: an emoji


def folded_trigger(trigger: str) -> str:
    """Return a form that is equal for triggers that a tokenizer or a reader takes for one word."""
    return " ".join(unicodedata.normalize("NFKC", trigger).casefold().split())
