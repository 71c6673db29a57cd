"""What a service says line by line, and what it says in JSON: read as what comes from outside."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One server-sent event."""

    id: str
    kind: str
    data: dict[str, Any]


def json_object(text: bytes | str) -> dict[str, Any] | None:
    """The JSON object that a text is, or None."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def parse(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events; comments are passed over."""
    number, kind, data = "", "message", ""
    for line in lines:
        field, _, value = line.partition(":")
        if not line:
            if (found := json_object(data)) is not None:
                yield Event(number, kind, found)
            kind, data = "message", ""
        elif field == "id":
            number = value.strip()
        elif field == "event":
            kind = value.strip()
        elif field == "data":
            data += value.strip()
