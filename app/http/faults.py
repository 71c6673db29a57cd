"""Faults of a request, place by place: where, a code, a sentence, and what may stand there instead.

A place is a pointer (RFC 6901) into the body, a form's fields being those of an object; outside of the body it begins
with `/query/`, `/header/` or `/path/`, which no field of a body is called.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from app.shared.errors import BadRequest

NAMED = 5  # of them in the sentence
LONGEST = 80  # characters of a word from outside that a sentence repeats
LONGEST_POINTER = 512
Allowed = Sequence[Any] | Mapping[str, Any] | None


def fault(pointer: str, code: str, message: str, allowed: Allowed = None) -> dict[str, Any]:
    """Return one entry of a problem's `errors`; allowed: a list of values, or limits in JSON Schema's words."""
    return {"pointer": pointer, "code": code, "message": message, "allowed": allowed}


def pointer(path: Iterable[str | int]) -> str:
    """Return the JSON pointer (RFC 6901) to a place; what no text may hold is written out."""
    steps = ("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return "".join(steps).encode("utf-8", "backslashreplace").decode()[:LONGEST_POINTER]


def quoted(word: str) -> str:
    """Return a word from outside as a sentence may repeat it."""
    return repr(word if len(word) <= LONGEST else word[:LONGEST] + "…")


def meant(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown word: the one that may have been meant, or nothing."""
    near = get_close_matches(word[:LONGEST], list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def named(
    names: Iterable[str], known: Iterable[str], lists: Iterable[str] = (), at: str = ""
) -> Iterator[dict[str, Any]]:
    """Yield what is wrong with the names of fields: unknown ones, and those said twice that are no lists.

    at: the part of the request that they are of, where it is not the body.
    """
    allowed = sorted(known)
    for name, times in Counter(names).items():
        place = pointer([at, name] if at else [name])
        if name not in allowed:
            message = f"there is no field {quoted(name)} here{meant(name, allowed)}"
            yield fault(place, "extra_forbidden", message, allowed)
        elif times > 1 and name not in lists:
            yield fault(place, "said_twice", f"{name!r} is said {times} times; say it once")


def detail(faults: Sequence[Mapping[str, Any]]) -> str:
    """Return the sentence for people about all of them."""
    more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
    return "; ".join(f"{dotted(one['pointer'])}: {one['message']}" for one in faults[:NAMED]) + more


def dotted(place: str) -> str:
    """Return a pointer as people write a place: `adapters.0.strength`."""
    return place[1:].replace("/", ".") or "body"


def refusal(place: Iterable[str | int], code: str, message: str, allowed: Allowed = None) -> BadRequest:
    """Return the refusal of one place; place: the steps of the pointer to it."""
    return BadRequest(code, message, reasons=[fault(pointer(place), code, message, allowed)])


def refused(faults: Sequence[Mapping[str, Any]], code: str = "invalid_request") -> BadRequest:
    """Return the refusal of a request for all of these."""
    return BadRequest(code, detail(faults), reasons=[dict(one) for one in faults])
