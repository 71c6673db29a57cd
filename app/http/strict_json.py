"""JSON read strictly: what it says twice, or what is no JSON, is refused, with a pointer to it.

Python's own reader takes the last of two equal keys, `NaN`, and UTF-16; of RFC 8259 each reader may make something
else of such a text, so none of it is a request.
"""

import json
import math
from collections.abc import Iterator
from typing import Any

from app.http.faults import fault, pointer, quoted, refused
from app.shared.errors import BadRequest

BOM = b"\xef\xbb\xbf"
EXACT = 2**53  # beyond it not every whole number is a float
Path = list[str | int]


def parse(data: bytes) -> Any:
    """Return the value that a body says; raise BadRequest with every place that is read in more than one way."""
    if not data.strip():
        raise _no_json("the body is empty; send a JSON object")
    if data.startswith(BOM):
        raise _no_json("the body begins with a byte order mark; JSON has none")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _no_json(f"the body is not UTF-8 at byte {error.start}; JSON is") from error
    twice: list[tuple[dict[str, Any], str]] = []
    constants: list[float] = []

    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            seen: set[str] = set()
            twice.extend((value, key) for key, _ in pairs if key in seen or seen.add(key))
        return value

    def constant(name: str) -> float:
        constants.append(float(name))
        return constants[-1]

    try:
        value = json.loads(text, object_pairs_hook=made, parse_float=_number, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise _no_json(f"the body is no JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise _no_json("the body is nested too deep to be a request") from error
    except ValueError as error:  # of what else it may be, only a number beyond Python's own limit of digits is left
        raise _no_json("the body has a number of thousands of digits") from error
    if twice or constants or "\\u" in text:  # nothing else can be wrong, and most bodies have none of them
        faults = [one for path, found in _walk(value) for one in _wrong(path, found, twice)]
        if faults:
            raise refused(faults)
    return value


def _number(text: str) -> int | float:
    # JSON has one kind of number: 20.0 is 20, also where a whole one is asked for
    value = float(text)
    return int(value) if value.is_integer() and abs(value) <= EXACT else value


def _wrong(path: Path, found: Any, twice: list[tuple[dict[str, Any], str]]) -> Iterator[dict[str, Any]]:
    if isinstance(found, dict):
        for key in dict.fromkeys(key for holder, key in twice if holder is found):
            yield fault(pointer([*path, key]), "said_twice", f"{quoted(key)} is said twice; say it once")
    elif isinstance(found, str) and any("\ud800" <= character <= "\udfff" for character in found):
        yield fault(pointer(path), "no_character", "half a surrogate pair is no character; remove it")
    elif isinstance(found, float) and not math.isfinite(found):
        yield fault(pointer(path), "no_number", f"{found} is no number in JSON; leave it out, or write null")


def _no_json(message: str) -> BadRequest:
    return refused([fault("", "not_json", message)])


def _walk(value: Any) -> Iterator[tuple[Path, Any]]:
    """Yield every value, and every key as a value, with the path to it."""
    left: list[tuple[Path, Any]] = [([], value)]
    while left:
        path, found = left.pop()
        yield path, found
        if isinstance(found, dict):
            left += [(path, key) for key in found]
            left += [([*path, key], inner) for key, inner in found.items()]
        elif isinstance(found, list):
            left += [([*path, index], inner) for index, inner in enumerate(found)]
