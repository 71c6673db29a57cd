"""The texts of a request: which text encoder of a base reads which, and the weights of their parts.

A weighted prompt is written as in A1111 and ComfyUI: `(words:1.3)` weighs 1.3, `(words)` 1.1, brackets in brackets are
multiplied, and a bracket that is meant is written `\\(`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from app.shared.wire.generation import Picture
from app.shared.wire.model import ModelProfile

SECOND = "text_encoder_2"  # which reads a text of its own, where a request has one
PROMPTS = {"prompt": "prompt_2", "negative_prompt": "negative_prompt_2"}  # and what is read by the second instead
STRONGER = 1.1  # the weight of brackets that name none
DEEPEST = 16  # brackets in brackets
HEAVIEST = 10.0  # with more, nothing of a picture is left
ESCAPE = r"write \( or \) for a bracket that is one"
MARK = re.compile(r"\\[()\\]|\(|(?::\s*(?P<weight>[+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*)?\)")


class Part(NamedTuple):
    """A part of a text, and how much it weighs: 1 is as it would be read plain."""

    text: str
    weight: float


class Text(NamedTuple):
    """One text of a request, and the places of those that read it in a list of text encoders."""

    field: str
    parts: list[Part]
    readers: list[int]


def texts(asked: Picture, encoders: Sequence[str]) -> Iterator[Text]:
    """Yield the texts of a request; raises ValueError as `weighted`. encoders: names of the base's text encoders."""
    for field, other in PROMPTS.items():
        text, second = getattr(asked, field), getattr(asked, other)
        own = [at for at, encoder in enumerate(encoders) if second is not None and encoder == SECOND]
        yield Text(field, parts_of(asked, text), [at for at in range(len(encoders)) if at not in own])
        if second is not None:
            yield Text(other, parts_of(asked, second), own)


def any_length(profile: ModelProfile, asked: Picture) -> bool:
    """Tell whether a base reads the texts of a request piece by piece, however long they are."""
    return profile.long_prompts and asked.prompt_syntax == "weighted"


def parts_of(asked: Picture, text: str) -> list[Part]:
    """Return the parts of one of a request's texts: plain, it is one. Raises ValueError as `weighted`."""
    return weighted(text) if asked.prompt_syntax == "weighted" else [Part(text, 1.0)]


def weighted(text: str) -> list[Part]:
    """Return the parts of a weighted prompt: together they are its text, and each but the first begins with its blanks.

    Raises ValueError with a sentence for brackets that do not match or are in too many others, and a weight below 0 or
    over 10.
    """
    found: list[list[tuple[str, float]]] = [[]]
    end = 0
    for mark in MARK.finditer(text):
        found[-1].append((text[end : mark.start()], 1.0))
        end = mark.end()
        if mark[0] == "(":
            if len(found) > DEEPEST:
                raise ValueError(f"the bracket at character {mark.end()} is in {DEEPEST} others; {ESCAPE}")
            found.append([])
        elif mark[0].startswith("\\"):
            found[-1].append((mark[0][1], 1.0))
        elif len(found) > 1:
            weight = float(mark["weight"]) if mark["weight"] else STRONGER
            if weight < 0:
                raise ValueError(f"the weight at character {mark.end()} is {weight:g}; the least is 0")
            inner = found.pop()
            found[-1] += [(part, own * weight) for part, own in inner]
        else:
            raise ValueError(f"the bracket that closes at character {mark.end()} was not opened; {ESCAPE}")
    if len(found) > 1:
        raise ValueError(f"{len(found) - 1} of its brackets are not closed; {ESCAPE}")
    return joined([*found[0], (text[end:], 1.0)])


def joined(pieces: Sequence[tuple[str, float]]) -> list[Part]:
    """Return pieces with neighbours of one weight made one, and blanks where a tokenizer has them: before a word.

    Raises ValueError for a weight over 10.
    """
    parts: list[Part] = []
    blanks = ""
    for text, weight in pieces:
        text = blanks + text
        kept = text.rstrip()
        blanks = text[len(kept) :]
        if not kept:
            continue
        if weight > HEAVIEST:
            raise ValueError(f"{kept.strip()!r} weighs {weight:g}; at most {HEAVIEST:g} is possible")
        if parts and parts[-1].weight == weight:
            parts[-1] = Part(parts[-1].text + kept, weight)
        else:
            parts.append(Part(kept, weight))
    return [*parts[:-1], Part(parts[-1].text + blanks, parts[-1].weight)] if parts else [Part(blanks, 1.0)]
