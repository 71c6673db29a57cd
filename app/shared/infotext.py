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
JSON = ('"', "[", "{")  # how values of it begin
MOST_TRIES = 64  # of values that begin so and are none: each costs a look at the whole line
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
    at, tries = 0, MOST_TRIES
    while found := NAME.match(line, at):
        at = found.end()
        said = None
        if line[at : at + 1] in JSON and tries:
            said = _json(line, at)
            tries -= said is None
        value, at = said or _plain(line, at)
        yield found[1].strip(), value
        rest = re.compile(r"\s*,").match(line, at)
        if rest is None:
            return
        at = rest.end()


def _json(line: str, at: int) -> tuple[str, int] | None:
    """The value of JSON that begins at a place, and where it ends; None for a text that only begins so."""
    try:
        value, end = json.JSONDecoder().raw_decode(line, at)
    except (ValueError, RecursionError):
        return None
    return (_storable(value) if isinstance(value, str) else line[at:end]), end


def _plain(line: str, at: int) -> tuple[str, int]:
    found = PLAIN.match(line, at)
    assert found
    return found[0].strip(), found.end()


def as_json(text: str) -> Any:
    """Return what a value that is JSON says, or None; half a surrogate pair, which nobody can store, is `?`."""
    try:
        value = json.loads(text)
        return json.loads(_storable(json.dumps(value, ensure_ascii=False))) if "\\u" in text else value
    except (ValueError, RecursionError):
        return None


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def hashes(value: str) -> dict[str, str]:
    """Return what `Lora hashes` and its like say: hash by name, in lower case."""
    parts = (one.rpartition(":") for one in value.split(","))
    return {name.strip(): digest.strip().lower() for name, _, digest in parts if name.strip() and digest.strip()}
