"""A file of another host, fetched so that what was fetched before is not fetched again.

Beside the file lies what it is a part of: the length and the strong `ETag` of the answer that it began with. The rest
is asked for with `Range` and `If-Range`; a host that has other bytes by now, or no ranges, sends all of it.
"""

import json
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path

from app.shared.errors import SourceAway, SourceRefused
from app.shared.fetching.fetcher import Answer, Bounds

CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")
STRONG = re.compile(r'"[!#-~]{0,200}"')

Get = Callable[[str, Bounds, dict[str, str]], AbstractContextManager[Answer]]
Told = Callable[[int, int | None], None]  # bytes that are here, of how many


def _nothing(_got: int, _size: int | None) -> None:
    pass


@dataclass(frozen=True)
class _Whole:
    """What a part is a part of."""

    tag: str
    size: int


def download(get: Get, url: str, file: Path, bounds: Bounds, told: Told = _nothing) -> str:
    """Fetch what a URL answers into `file`, going on where it ends; return the sha256 of all of it.

    get: asks, as `Fetcher.get` does; told: called after each piece, and may raise to end it. Raises SourceRefused, and
    SourceAway where another call may go on.
    """
    beside = _beside(file)
    whole, begun = _read(beside), file.stat().st_size if file.exists() else 0
    if whole is None or not 0 < begun <= whole.size:
        whole, begun = None, 0
    if whole is None or begun < whole.size:
        headers = {"Range": f"bytes={begun}-", "If-Range": whole.tag} if whole else {}
        with get(url, bounds, headers) as answer:
            begun, size = _place(answer, whole, begun, file)
            _write(answer, file, begun, size, told)
    with file.open("rb") as written:
        return file_digest(written, "sha256").hexdigest()


def forget(file: Path) -> None:
    """Delete a file and what lies beside it."""
    for one in (file, _beside(file)):
        one.unlink(missing_ok=True)


def _place(answer: Answer, whole: _Whole | None, begun: int, file: Path) -> tuple[int, int | None]:
    """Return from where on an answer's body goes into the file, and how long all of it is, if that is known."""
    if answer.status == 416 and whole:  # what the host has is shorter than what is here
        forget(file)
        raise SourceAway("source_changed", f"{answer.place.shown} has changed; it is fetched from its beginning")
    answer.judge()
    if answer.status == 206:
        found = CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        first, last, size = map(int, found.groups()) if found else (-1, -1, -1)
        right = whole and (first, last, size) == (begun, size - 1, whole.size)
        if not right or answer.length not in (None, size - begun):
            forget(file)
            raise SourceRefused("source_unusable", f"{answer.place.shown} sends another part than was asked for")
        return begun, size
    forget(file)
    tag, size = answer.headers.get("etag", ""), answer.length
    if size and STRONG.fullmatch(tag):
        _beside(file).write_text(json.dumps(asdict(_Whole(tag, size))))
    return 0, size


def _write(answer: Answer, file: Path, begun: int, size: int | None, told: Told) -> None:
    got = begun
    with file.open("ab" if begun else "wb") as target:
        for chunk in answer.chunks(begun):
            target.write(chunk)
            got += len(chunk)
            told(got, size)
        target.flush()
        os.fsync(target.fileno())
    if size is not None and got != size:
        raise SourceAway("source_incomplete", f"{answer.place.shown} ended after {got} of {size} bytes")


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.of")


def _read(beside: Path) -> _Whole | None:
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        said = json.loads(beside.read_text())
        if STRONG.fullmatch(said["tag"]) and isinstance(said["size"], int):
            return _Whole(said["tag"], said["size"])
    return None
