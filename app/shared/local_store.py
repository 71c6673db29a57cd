"""Object storage in a local folder: one file a key, each whole and on the disk before its writer is told so.

An object is written to a file beside its place, flushed (fsync), then linked (`create`: whoever comes second fails) or
renamed (`put`) to its name, and then the folder is flushed, and every folder that was made for it. So a reader never
sees half an object, a power cut takes nothing back that was promised, and a killed writer leaves at most a file that
is no key; whoever lists its folder a day later clears it away.

A deletion is not flushed: everywhere in this project something durable said so before (a manifest, a tombstone, a
version), and what comes back after a power cut is deleted again by the same rule.

What that costs is the disk's to say (`python -m tests.bench.flushes`); flushes of many threads share its journal, so
many are to be in flight at once.
"""

import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20
ABANDONED_S = 24 * 3600
UNFINISHED = re.compile(r"\..*\.part|.*#[0-9]+")  # ours, and those of version 0.1; no key has such a part
MOST_KNOWN = 4096
FULLY: int | None = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone leaves the bytes in the disk's own cache


class LocalStore:
    """A folder; keys are paths in it. Raises OSError for what the disk does not do."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._known: set[Path] = {folder}  # folders that this process has seen flushed, all the way up

    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object, replacing what was there."""
        target = self._folder / key
        unfinished = self._write(target, data)
        try:
            unfinished.replace(target)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        _flush_folder(target.parent)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless one is there; say whether it was written."""
        target = self._folder / key
        unfinished = self._write(target, data)
        try:
            target.hardlink_to(unfinished)
        except FileExistsError:
            return False
        finally:
            unfinished.unlink(missing_ok=True)
        _flush_folder(target.parent)
        return True

    def get(self, key: str) -> bytes | None:
        """The bytes of an object, or None."""
        file = self._open(key)
        if file is None:
            return None
        with file:
            return file.read()

    def stream(self, key: str) -> tuple[int, Iterator[bytes]] | None:
        """How long an object is, and its bytes in chunks, or None."""
        file = self._open(key)
        return None if file is None else (os.fstat(file.fileno()).st_size, _chunks(file))

    def size(self, key: str) -> int | None:
        """How long an object is, or None."""
        file = self._open(key)
        if file is None:
            return None
        with file:
            return os.fstat(file.fileno()).st_size

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        with suppress(FileNotFoundError, NotADirectoryError):
            (self._folder / key).unlink()

    def entries(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Every key below a folder and when it was written; unfinished files that nobody writes any more go."""
        try:
            found = list(os.scandir(self._folder / prefix))
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in found:
            with suppress(FileNotFoundError):  # deleted while it is listed
                if entry.is_dir():
                    yield from self.entries(f"{prefix}/{entry.name}" if prefix else entry.name)
                    continue
                written = entry.stat().st_mtime
                if not UNFINISHED.fullmatch(entry.name):
                    key = f"{prefix}/{entry.name}" if prefix else entry.name
                    yield key, datetime.fromtimestamp(written, UTC)
                elif time.time() - written > ABANDONED_S:
                    Path(entry.path).unlink()

    def _open(self, key: str) -> BinaryIO | None:
        try:
            return (self._folder / key).open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def _write(self, target: Path, data: bytes | Path) -> Path:
        """Write and flush a file beside `target`, in a folder that is flushed."""
        unfinished = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
        self._make(target.parent)
        try:
            file = unfinished.open("xb")
        except FileNotFoundError:  # somebody cleared the folder away since it was seen
            self._known = {self._folder}
            self._make(target.parent)
            file = unfinished.open("xb")
        try:
            with file:
                if isinstance(data, Path):
                    with data.open("rb") as source:
                        shutil.copyfileobj(source, file, CHUNK)
                else:
                    file.write(data)
                file.flush()
                _flush(file.fileno())
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        return unfinished

    def _make(self, folder: Path) -> None:
        """Make a folder, if need be, and flush its name: also where another made it, who may not have come so far."""
        if folder in self._known:
            return
        self._make(folder.parent)
        folder.mkdir(exist_ok=True)
        _flush_folder(folder.parent)
        if len(self._known) >= MOST_KNOWN:
            self._known = {self._folder}
        self._known.add(folder)


def _flush(number: int) -> None:
    if FULLY is None:
        os.fsync(number)
    else:
        fcntl.fcntl(number, FULLY)


def _flush_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _flush(number)
    finally:
        os.close(number)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK):
            yield chunk
