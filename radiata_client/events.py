"""Server-sent events and JSON, read as what comes from outside: bytes in, whatever the pieces they come in."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One server-sent event; id: its own, empty where it has none."""

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


class EventReader:
    """Makes events of a stream's bytes; what is cut off is no event."""

    def __init__(self) -> None:
        self._rest = b""
        self._id, self._kind, self._data = "", "message", ""

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that are whole with these bytes; comments are passed over."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            field, _, value = line.rstrip(b"\r").decode(errors="replace").partition(":")
            if not field and not value:
                if (found := json_object(self._data)) is not None:
                    yield Event(self._id, self._kind, found)
                self._id, self._kind, self._data = "", "message", ""
            elif field == "id":
                self._id = value.strip()
            elif field == "event":
                self._kind = value.strip()
            elif field == "data":
                self._data += value.strip()
