"""Infotext read: the text that A1111, SD.Next, Forge and Civitai write into pictures, and that the engine writes too.

It is a prompt, a line that begins with `Negative prompt:`, and a last line of `Name: value` pairs. A value with a comma
in it stands in quotes, or is JSON as it is (`Hashes`, `Civitai resources`). Whatever it says is data from outside.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

NEGATIVE = "Negative prompt:"
NAME = re.compile(r"\s*([A-Za-z][A-Za-z0-9 _./()+-]{0,63}):[ \t]*")
PLAIN = re.compile(r"[^,\n]*")
FEWEST = 2  # pairs by which a last line is told from a line of a prompt
MOST_CHARS = 1 << 18


class Infotext(NamedTuple):
    """What a text says: prompts as they were typed, and what its last line says, by name."""

    prompt: str
    negative_prompt: str
    fields: dict[str, str]


def read(text: str) -> Infotext:
    """Return what an infotext says; one that has no last line of pairs is a prompt alone."""
    lines = text.strip().split("\n")
    fields = dict(pairs(lines[-1]))
    if len(fields) >= FEWEST or (fields and "Steps" in fields):
        lines.pop()
    else:
        fields = {}
    begun = next((at for at, line in enumerate(lines) if line.startswith(NEGATIVE)), len(lines))
    negative = "\n".join(lines[begun:]).removeprefix(NEGATIVE)
    return Infotext("\n".join(lines[:begun]).strip(), negative.strip(), fields)


def pairs(line: str) -> Iterator[tuple[str, str]]:
    """Yield `Name: value` pairs for as long as a line goes on with them; of a name said twice, both."""
    at = 0
    while found := NAME.match(line, at):
        value, at = _value(line, found.end())
        yield found[1].strip(), value
        rest = re.compile(r"\s*,").match(line, at)
        if rest is None:
            return
        at = rest.end()


def _value(line: str, at: int) -> tuple[str, int]:
    """The value that begins at a place, and where it ends."""
    if line[at : at + 1] in ('"', "[", "{"):
        try:
            value, end = json.JSONDecoder().raw_decode(line, at)
        except (ValueError, RecursionError):
            pass  # a text that only begins so
        else:
            return (value if isinstance(value, str) else line[at:end]), end
    found = PLAIN.match(line, at)
    assert found
    return found[0].strip(), found.end()


def as_json(text: str) -> Any:
    """Return what a value that is JSON says, or None."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def hashes(value: str) -> dict[str, str]:
    """Return what `Lora hashes` and its like say: hash by name, in lower case."""
    parts = (one.rpartition(":") for one in value.split(","))
    return {name.strip(): digest.strip().lower() for name, _, digest in parts if name.strip() and digest.strip()}
