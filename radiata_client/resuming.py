"""A large file, sent in parts that no proxy cuts: what a broken connection or a kill costs is the last part alone.

What has begun is found again by what the service tells of it, so whoever sends it once more goes on, from whichever
machine.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from radiata_client.answers import json_of
from radiata_client.effects import Answer, Ask, Operation, Pause, Tell

FROM = 64 << 20  # bytes; what is smaller is sent whole
PART = 32 << 20  # bytes: many proxies take 100 MB at most
POLL_S = 0.5
SPOKEN = {"Tus-Resumable": "1.0.0"}
WHERE = "/v1/uploads"
Tried = Callable[[Ask], Operation[Answer]]


def send(tried: Tried, kind: str, file: Path, fields: Mapping[str, Any]) -> Operation[str]:
    """Send a file, or the rest of it; where the service tells what becomes of it.

    tried: an answer, after as many tries as it takes. kind: `adapters` or `datasets`. Told: bytes there, of how many.
    """
    said = {name: sorted(set(value)) if isinstance(value, list) else value for name, value in fields.items() if value}
    size = file.stat().st_size
    with file.open("rb") as stream:
        known = {"sha256": hashlib.file_digest(stream, "sha256").hexdigest(), "size_bytes": size, "said": said}
        known["kind"] = kind.removesuffix("s")
        where = (yield from _begun(tried, known)) or (yield from _begin(tried, kind, known))
        while True:
            one = yield from _read(tried, where, "offset", "result")
            yield Tell((one["offset"], size))
            if one["result"]:
                return one["result"]
            if one["offset"] == size:  # the service puts the parts together
                yield Pause(POLL_S)
                continue
            stream.seek(one["offset"])
            headers = {"Upload-Offset": str(one["offset"]), "Content-Type": "application/offset+octet-stream", **SPOKEN}
            # Whatever came of it, the service tells
            yield from tried(Ask("PATCH", where, content=stream.read(PART), headers=headers))


def _read(tried: Tried, path: str, *holds: str) -> Operation[dict[str, Any]]:
    return json_of((yield from tried(Ask("GET", path))), *holds)


def _begun(tried: Tried, known: Mapping[str, Any]) -> Operation[str | None]:
    """Return where the same file, of which the same was said, has begun."""
    for one in (yield from _read(tried, WHERE, "uploads"))["uploads"]:
        if all(one[name] == value for name, value in known.items()):
            return f"{WHERE}/{one['id']}"
    return None


def _begin(tried: Tried, kind: str, known: Mapping[str, Any]) -> Operation[str]:
    texts = {"sha256": known["sha256"], **known["said"]}
    lines = {name: "\n".join(value) if isinstance(value, list) else value for name, value in texts.items()}
    metadata = ",".join(f"{name} {base64.b64encode(text.encode()).decode()}" for name, text in lines.items())
    headers = {"Upload-Length": str(known["size_bytes"]), "Upload-Metadata": metadata, **SPOKEN}
    answer = yield from tried(Ask("POST", f"{WHERE}/{kind}", headers=headers))
    return f"{WHERE}/{answer.headers['location'].rpartition('/')[2]}"
