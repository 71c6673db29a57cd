"""What text from outside may be: visible, and free of characters that steer terminals."""

import re
import unicodedata
from pathlib import PurePosixPath

LAYOUT = "\n\t"  # control characters that people type
# Letters and signs by their category, but drawn as nothing: the fillers of Hangul, the empty Braille cell
FILLERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp", "Mn", "Me"})  # marks too: they need a letter to stand on


def no_control_characters(text: str) -> str:
    """Return `text`; raise ValueError for control characters (C0, C1, DEL) but newline and tab, and half surrogates."""
    if text.isascii() and text.isprintable():
        return text
    for character in text:
        category = unicodedata.category(character)
        if category == "Cc" and character not in LAYOUT:
            raise ValueError(f"control characters are not allowed; remove U+{ord(character):04X}")
        if category == "Cs":  # JSON can say it, UTF-8 cannot
            raise ValueError("half a surrogate pair is no character; remove it")
    return text


def blank(text: str) -> bool:
    """Tell whether nothing of a text can be seen: blanks, joiners, fillers, marks of direction."""
    return all(character in FILLERS or unicodedata.category(character) in UNSEEN for character in text)


def called(file_name: str) -> str:
    """Return a name that an adapter can have, made of its file's."""
    return re.sub(r"[^a-z0-9._-]+", "-", PurePosixPath(file_name).stem.lower()).strip("-._")[:56] or "adapter"
