"""What other tools keep beside an adapter's file: a description, trigger words, a cover. All of it is from outside.

`NAME.civitai.info` is what Civitai answers, `NAME.json` what A1111 keeps or Civitai again, `NAME.txt` a text. Only
texts are taken from them, without markup and control characters, up to a length; whatever else is passed over.
`image_encoder` in `NAME.json` is ours.
"""

import html
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from app.shared.wire.values import NAME_PATTERN

DESCRIBED = (".civitai.info", ".json", ".txt")  # the first that says something counts
COVERS = (".preview.png", ".png", ".preview.jpg", ".jpg", ".preview.jpeg", ".jpeg", ".preview.webp", ".webp")
LARGEST = 1024**2  # bytes of a sidecar that is read
LONGEST = 2000  # characters of a description, as the API takes it
MOST_WORDS, LONGEST_WORD = 50, 200
# Keys under which a description is, and words, in the order of trust
DESCRIPTION = ("description", "notes")
WORDS = ("trainedWords", "activation text", "trigger_words", "triggerWords")
ENCODER = "image_encoder"
INNER = ("model",)  # objects inside that are read as well
TAGS = re.compile(r"<[^<>]*>")
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")


class Sidecars(NamedTuple):
    """What is said of an adapter beside its file."""

    description: str
    words: tuple[str, ...]
    cover: Path | None
    image_encoder: str = ""  # of an image prompt: name of the base's that reads its pictures

    @property
    def text(self) -> str:
        """The description with the trigger words, as one text."""
        words = f"Trigger words: {', '.join(self.words)}." if self.words else ""
        room = LONGEST - len(words) - bool(words)
        return f"{words} {self.description[:room]}".strip()[:LONGEST]


def sidecars_of(file: Path) -> Sidecars:
    """Return what stands beside an adapter's file; nothing of it is an error."""
    stem = file.name.removesuffix(file.suffix)
    description, words = "", ()
    for ending in DESCRIBED:
        text = _read(file.with_name(stem + ending))
        found = _described(text, ending)
        description, words = description or found[0], words or found[1]
    encoder = _encoder(_read(file.with_name(f"{stem}.json")))
    covers = (file.with_name(stem + ending) for ending in COVERS)
    return Sidecars(description, words, next((cover for cover in covers if cover.is_file()), None), encoder)


def _described(text: str, ending: str) -> tuple[str, tuple[str, ...]]:
    if ending == ".txt":
        return plain(text), ()
    with suppress(ValueError, RecursionError):
        objects = [*_objects(json.loads(text))]
        said = (plain(one[key]) for key in DESCRIPTION for one in objects if isinstance(one.get(key), str))
        words = (_words(one[key]) for key in WORDS for one in objects if key in one)
        return next(filter(None, said), ""), next(filter(None, words), ())
    return "", ()


def _encoder(text: str) -> str:
    with suppress(ValueError, RecursionError):
        for one in _objects(json.loads(text)):
            if isinstance(name := one.get(ENCODER), str) and re.fullmatch(NAME_PATTERN, name):
                return name
    return ""


def _objects(found: Any) -> Iterator[dict[str, Any]]:
    if isinstance(found, dict):
        yield found
        yield from (found[key] for key in INNER if isinstance(found.get(key), dict))


def _words(found: Any) -> tuple[str, ...]:
    listed = found if isinstance(found, list) else [found]
    words = (plain(word)[:LONGEST_WORD].strip(" ,") for word in listed[:MOST_WORDS] if isinstance(word, str))
    return tuple(dict.fromkeys(filter(None, words)))


def plain(text: str) -> str:
    """Return a text in one line, without markup and without characters that nobody sees."""
    return " ".join(UNSEEN.sub(" ", html.unescape(TAGS.sub(" ", text))).split())


def _read(file: Path) -> str:
    with suppress(OSError):
        if file.is_file():
            with file.open("rb") as bytes_:
                return bytes_.read(LARGEST + 1)[:LARGEST].decode("utf-8-sig", errors="replace")
    return ""
