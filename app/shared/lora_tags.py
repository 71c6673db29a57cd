"""`<lora:name:…>` in a prompt, as A1111, Forge and SD.Next read it, brought to an entry of `adapters`.

| written | what it means |
|---|---|
| `<lora:name>`, `<lora:name:0.8>` | the strength, everywhere |
| `<lora:name:0.5:0.8>` | 0.5 on text encoders, 0.8 on the denoiser; `te=` and `unet=` say the same |
| `…:16`, `dyn=16` | the first 16 ranks alone |
| `in=`, `mid=`, `out=` | the strength on these blocks of the denoiser (SD.Next) |
| `0.2@0,1@0.6` | from each fraction of the steps on, that strength; over 1 it is a step |
| `0.8@0.2-0.7`, `step=4-14`, `start=`, `stop=` | the strength between two of them, and nothing before and behind |

`<lyco:…>` is the same. A text encoder's strength says nothing of an adapter that changes none.
"""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from app.shared.wire.adapter import AdapterVersion, denoises

TAG = re.compile(r" ?<(?:lora|lyco):([^<>]{1,512})>", re.IGNORECASE)
NUMBER = re.compile(r"[+-]?(?:[0-9]{1,6}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})")
ORDER = ("te", "unet", "dyn")  # what numbers without a name mean, where there are several
BLOCKS = {"in": "down", "mid": "mid", "out": "up"}
SPANS = ("step", "start", "stop")
KNOWN = (*ORDER, *BLOCKS, *SPANS)
ENTRIES = 64


class Tag(NamedTuple):
    """One of them: the adapter's name, what is said behind it, and all of it as it was written."""

    name: str
    said: tuple[str, ...]
    text: str


class TagRefused(ValueError):
    """What a tag says cannot be said of an adapter here; the message is a sentence."""


def split(prompt: str) -> tuple[str, list[Tag]]:
    """Return a prompt without its tags, and these."""
    tags = []
    for found in TAG.finditer(prompt):
        name, *said = (one.strip() for one in found[1].split(":"))
        tags.append(Tag(name, tuple(said), found[0].strip()))
    return (TAG.sub("", prompt).strip() if tags else prompt), tags


def use_of(tag: Tag, version: AdapterVersion, model: str, steps: int) -> dict[str, Any]:
    """Return the entry of `adapters` that a tag means, without its `ref`; raise TagRefused.

    version: the adapter that it names; model: on which it is applied; steps: of the drawing.
    """
    said = _said(tag)
    parts = version.components_of.get(model, version.components)
    encoders = [one for one in parts if not denoises(one)]
    schedule = _schedule(tag, said, steps)
    denoiser = _number(tag, said.get("unet", "1")) if not schedule else 1.0
    entry: dict[str, Any] = {"strength": denoiser}
    if schedule:
        if len(encoders) == len(parts):
            raise _wrong(tag, f"{version.name!r} changes text encoders alone, which have run before the first step")
        entry["schedule"] = schedule
        if encoders and "te" not in said:
            raise _wrong(tag, f"{version.name!r} changes {', '.join(encoders)} too; say its strength there, as te=1")
    if "te" in said and encoders:
        encoder = _number(tag, said["te"])
        if encoder != denoiser:
            entry["strengths"] = dict.fromkeys(encoders, encoder)
    if "dyn" in said:
        if not re.fullmatch("[0-9]{1,4}", said["dyn"]):
            raise _wrong(tag, "dyn is a number of ranks")
        entry["rank"] = int(said["dyn"])
    if blocks := {ours: _number(tag, said[theirs]) for theirs, ours in BLOCKS.items() if theirs in said}:
        if not denoiser:
            raise _wrong(tag, "blocks have a share of the strength, which is 0; give it as unet=1")
        entry["blocks"] = {block: value / denoiser for block, value in blocks.items()}
    return entry


def _said(tag: Tag) -> Mapping[str, str]:
    """What a tag says, by name; a name wins over a number without one."""
    plain = [one for one in tag.said if "=" not in one]
    if len(plain) > len(ORDER):
        raise _wrong(tag, "it has more than three numbers without a name")
    said = dict(zip(ORDER if len(plain) > 1 else ("unet",), plain, strict=False))
    if len(plain) == 1 and not is_schedule(plain[0]):  # one number is both
        said["te"] = plain[0]
    named: dict[str, str] = {}
    for name, _, value in (one.partition("=") for one in tag.said if "=" in one):
        name = name.strip().lower()
        if name not in KNOWN:
            raise _wrong(tag, f"{name[:40]!r} is not obeyed here; known are {', '.join(KNOWN)}")
        if name in named:
            raise _wrong(tag, f"it says {name} twice")
        named[name] = value.strip()
    return said | named


def is_schedule(value: str) -> bool:
    """Tell whether a value says when it holds."""
    return "@" in value


def _schedule(tag: Tag, said: Mapping[str, str], steps: int) -> list[tuple[float, float]]:
    """Pairs of a fraction of the steps and the strength from there on; empty where the strength is one."""
    value = said.get("unet", "1")
    spans = [name for name in SPANS if name in said]
    if not is_schedule(value):
        return _span(tag, _number(tag, value), *_ends(tag, said), steps) if spans else []
    if spans:
        raise _wrong(tag, f"both @ and {spans[0]}= say when it is applied; leave one out")
    points = [one.split("@") for one in value.split(",")]
    if len(points) > ENTRIES or any(len(one) != 2 for one in points):
        raise _wrong(tag, "when a strength holds is written as 0.2@0,1@0.6 or as 0.8@0.2-0.7")
    if len(points) == 1 and "-" in points[0][1]:
        begin, _, end = points[0][1].partition("-")
        return _span(tag, _number(tag, points[0][0]), begin, end, steps)
    pairs = [(_fraction(tag, when, steps), _number(tag, strength)) for strength, when in points]
    if pairs[0][0] != 0:
        raise _wrong(tag, "its first strength does not begin at 0; begin with 0@0")
    if any(after <= before for (before, _), (after, _) in pairwise(pairs)) or pairs[-1][0] >= 1:
        raise _wrong(tag, "the fractions behind @ must rise, and the last is below 1")
    return pairs


def _ends(tag: Tag, said: Mapping[str, str]) -> tuple[str, str]:
    if "step" in said:
        begin, dash, end = said["step"].partition("-")
        if not dash or len(said.keys() & set(SPANS)) > 1:
            raise _wrong(tag, "steps are written as step=4-14, and no start or stop beside them")
        return begin, end
    return said.get("start", "0"), said.get("stop", "")


def _span(tag: Tag, strength: float, begin: str, end: str, steps: int) -> list[tuple[float, float]]:
    """A strength between two fractions or steps."""
    first, last = _fraction(tag, begin or "0", steps), _fraction(tag, end, steps) if end.strip() else 1.0
    if not first < last <= 1:
        raise _wrong(tag, "the end of its steps is not behind their beginning, or is behind the last one")
    before = [(0.0, 0.0)] if first else []
    return [*before, (first, strength), *([(last, 0.0)] if last < 1 else [])]


def _fraction(tag: Tag, text: str, steps: int) -> float:
    value = _number(tag, text)
    if value < 0:
        raise _wrong(tag, "there are no steps before the first")
    return value if value <= 1 else value / steps


def _number(tag: Tag, text: str) -> float:
    if not NUMBER.fullmatch(text.strip()):
        raise _wrong(tag, f"{text.strip()[:40]!r} is no number")
    return float(text)


def _wrong(tag: Tag, why: str) -> TagRefused:
    return TagRefused(f"{tag.text[:80]}: {why}")
