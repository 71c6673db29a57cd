"""What happens to a generation, as a Redis stream that any number of listeners follow and resume.

| Redis key | type | what | kept for |
|---|---|---|---|
| `radiata:events:<generation id>` | stream | entries `{kind, data (JSON)}`; API and engine write it, `app/hub.py` reads it | capped; `keep_live_s` |
| `radiata:changed` | channel | the id of a generation with a new event, or of an upload that settled | not at all |

Both can be lost: the end of a generation is in storage.
"""  # noqa: E501

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from redis import Redis
from redis.client import Pipeline

from app.shared.wire.generation import Status
from app.shared.wire.upload import UploadStatus

MAX_ENTRIES = 4096
CHANGED = "radiata:changed"
POSITION = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?")
KIND = re.compile(r"[a-z_]{1,32}")
ENDS = {status.value for statuses in (Status, UploadStatus) for status in statuses if status.ended}

Position = tuple[int, int]
START: Position = (0, 0)


@dataclass(frozen=True)
class Event:
    """One event: kind (`status`, `progress`, `image`), JSON-ready data, and its place in the stream (resumable).

    position: None where the stream was lost and storage told the end.
    """

    kind: str
    data: dict[str, Any]
    position: Position | None = None

    @cached_property
    def is_end(self) -> bool:
        """Whether nothing can follow."""
        status = self.data.get("status")  # of any kind: what stands in Redis is data
        return self.kind == "status" and isinstance(status, str) and status in ENDS

    @cached_property
    def frame(self) -> bytes:
        """The event as server-sent bytes, made once however many listen."""
        place = f"id: {stream_id(self.position)}\n" if self.position else ""
        return f"event: {self.kind}\n{place}data: {json.dumps(self.data)}\n\n".encode()


def stream_key(generation_id: str) -> str:
    """The stream of a generation."""
    return f"radiata:events:{generation_id}"


def publish(redis: Redis | Pipeline, generation_id: str, kind: str, data: dict[str, Any], keep_s: int) -> None:
    """Append an event, and tell whoever follows."""
    key = stream_key(generation_id)
    redis.xadd(key, {"kind": kind, "data": json.dumps(data)}, maxlen=MAX_ENTRIES, approximate=True)
    redis.expire(key, keep_s)
    wake(redis, generation_id)


def wake(redis: Redis | Pipeline, what: str) -> None:
    """Wake whoever waits for something to happen to a generation or an upload."""
    redis.publish(CHANGED, what)


def position(text: str) -> Position | None:
    """A place in a stream as Redis and `Last-Event-ID` write it, or None."""
    match = POSITION.fullmatch(text)
    place = (int(match[1]), int(match[2] or 0)) if match else None
    return place if place and max(place) < 2**64 else None


def stream_id(place: Position) -> str:
    """A place in a stream as Redis and `Last-Event-ID` write it."""
    return f"{place[0]}-{place[1]}"


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def event_of(place: Position, fields: Mapping[bytes, bytes]) -> Event | None:
    """An entry of a stream, or None where it is none of ours: Redis is written by whoever reaches it."""
    try:
        kind, data = fields[b"kind"].decode(), json.loads(fields[b"data"], parse_constant=_no_number)
    except (KeyError, ValueError, RecursionError):
        return None
    if not KIND.fullmatch(kind) or not isinstance(data, dict):
        return None
    return Event(kind, data, place)
