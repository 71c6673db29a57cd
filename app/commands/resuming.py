"""A large file, sent in parts that no proxy cuts: what a broken connection or a kill costs is the last part alone.

What has begun is found again by what the service tells of it, so a command that is given once more goes on, from
whichever machine.
"""

import base64
import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

FROM = 64 << 20  # bytes; what is smaller is sent whole
PART = 32 << 20  # bytes: many proxies take 100 MB at most
POLL_S = 0.5
SPOKEN = {"Tus-Resumable": "1.0.0"}
WHERE = "/v1/uploads"


def send(
    ask: Callable[..., httpx.Response],
    kind: str,
    file: Path,
    fields: Mapping[str, Any],
    told: Callable[[int, int], None],
) -> str:
    """Send a file, or the rest of it; where the service tells what becomes of it.

    ask: method, path and what httpx takes besides -> the answer, after as many tries as it takes. kind: `adapters` or
    `datasets`. told: bytes that are there, of how many.
    """
    said = {name: sorted(set(value)) if isinstance(value, list) else value for name, value in fields.items() if value}
    size = file.stat().st_size
    with file.open("rb") as stream:
        known = {"sha256": hashlib.file_digest(stream, "sha256").hexdigest(), "size_bytes": size, "said": said}
        known["kind"] = kind.removesuffix("s")
        where = _begun(ask, known) or _begin(ask, kind, known)
        while True:
            one = ask("GET", where).json()
            told(one["offset"], size)
            if one["result"]:
                return one["result"]
            if one["offset"] == size:  # the service puts the parts together
                time.sleep(POLL_S)
                continue
            stream.seek(one["offset"])
            headers = {"Upload-Offset": str(one["offset"]), "Content-Type": "application/offset+octet-stream", **SPOKEN}
            ask("PATCH", where, content=stream.read(PART), headers=headers)  # whatever came of it, the service tells


def _begun(ask: Callable[..., httpx.Response], known: Mapping[str, Any]) -> str | None:
    """Return where the same file, of which the same was said, has begun."""
    for one in ask("GET", WHERE).json()["uploads"]:
        if all(one[name] == value for name, value in known.items()):
            return f"{WHERE}/{one['id']}"
    return None


def _begin(ask: Callable[..., httpx.Response], kind: str, known: Mapping[str, Any]) -> str:
    texts = {"sha256": known["sha256"], **known["said"]}
    lines = {name: "\n".join(value) if isinstance(value, list) else value for name, value in texts.items()}
    metadata = ",".join(f"{name} {base64.b64encode(text.encode()).decode()}" for name, text in lines.items())
    headers = {"Upload-Length": str(known["size_bytes"]), "Upload-Metadata": metadata, **SPOKEN}
    return f"{WHERE}/{ask('POST', f'{WHERE}/{kind}', headers=headers).headers['Location'].rpartition('/')[2]}"
