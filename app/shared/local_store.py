"""Object storage in a local folder: one file a key, each whole and on the disk before its writer is told so.

An object is written to a file that has no name, or to one beside its place, flushed (fsync), then linked (`create`:
whoever comes second fails) or renamed (`put`) to its name, and then the folder is flushed, and every folder that was
made for it. So a reader never sees half an object, a power cut takes nothing back that was promised, and a killed
writer leaves at most a file that is no key; whoever lists its folder a day later clears it away.

An object can be read before its folder is flushed: its writer may be at it, or may have failed there. So whoever
answers for an object that another wrote flushes that folder too: `create` where it finds one, a reader with `flush`.

A deletion is not flushed: everywhere in this project something durable said so before (a manifest, a tombstone, a
version), and what comes back after a power cut is deleted again by the same rule.

What that costs is the disk's to say (`python -m tests.bench.flushes`): here, on two busy cores, 60 to 320 records a
second from one thread, 800 to 1,200 from eight, 1,400 to 1,500 from sixteen. Flushes of many share the disk's journal,
so many are to be in flight at once.
"""

import errno
import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from app.shared.linking import place

CHUNK = 1 << 20
ABANDONED_S = 24 * 3600
UNFINISHED = re.compile(r"\..*\.part|.*#[0-9]+")  # ours, and those of version 0.1; no key has such a part
MOST_KNOWN = 4096
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
UNNAMED: int | None = getattr(os, "O_TMPFILE", None)  # Linux, on most file systems
NOT_HERE = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
FULLY: int | None = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone leaves the bytes in the disk's own cache


class LocalStore:
    """A folder; keys are paths in it. Raises OSError for what the disk does not do."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = str(folder)
        self._known: set[str] = set()  # folders that this process has seen flushed, all the way up
        self._named_only = False  # whether files without a name cannot be made here, or cannot get one

    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object, replacing what was there."""
        folder, unfinished, target = self._places(key)
        self._write(folder, unfinished, data)
        try:
            os.replace(unfinished, target)
        except OSError:
            _discard(unfinished)
            raise
        _flush_folder(folder)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless another is there; say whether it was written. Whatever is there then is flushed."""
        folder, unfinished, target = self._places(key)
        try:
            if not self._create_unseen(folder, target, data):
                self._write(folder, unfinished, data)
                try:
                    os.link(unfinished, target)
                finally:
                    _discard(unfinished)
            written = True
        except FileExistsError:
            written = self.get(key) == data  # ours, where the first try was written and then failed to say so
        _flush_folder(folder)
        return written

    def copy(self, source: str, key: str) -> bool:
        """Have the bytes of one object under a second key as well, without a second copy of them on the disk.

        Says whether there are any.
        """
        folder, unfinished, target = self._places(key)
        self._make(folder)
        try:
            os.link(f"{self._folder}/{source}", unfinished)
        except FileNotFoundError:
            return False
        try:
            os.replace(unfinished, target)
        finally:
            _discard(unfinished)  # still there where both keys meant one file already
        _flush_folder(folder)
        return True

    def take(self, key: str, file: Path) -> str:
        """Have a file of another folder as an object, linked where that can be; say how."""
        folder, _, target = self._places(key)
        self._make(folder)
        how = place(file, Path(target))
        with _opened(target, os.O_RDONLY) as number:
            _flush(number)
        _flush_folder(folder)
        return how

    def flush(self, key: str) -> None:
        """Make sure that an object that was read outlives a power cut."""
        folder = self._places(key)[0]
        with suppress(FileNotFoundError, NotADirectoryError):  # then no object is there either
            _flush_folder(folder)
            self._make(folder)

    def _create_unseen(self, folder: str, target: str, data: bytes) -> bool:
        """Write and flush a file that has no name before it has its own; say whether that can be done here.

        One name less is made and removed, so a disk flushes more of them a second. Raises FileExistsError.
        """
        if UNNAMED is None or self._named_only:
            return False
        try:
            self._make(folder)
            with _opened(folder, os.O_WRONLY | UNNAMED) as number:
                _write_all(number, data)
                _flush(number)
                return self._name(number, target)
        except FileExistsError:
            raise
        except OSError as error:  # what is wrong with more than this way of it, the other way finds too
            self._named_only |= error.errno in NOT_HERE
            return False

    def _name(self, number: int, target: str) -> bool:
        """Give an open file that has no name its own; say whether that can be done here. Raises FileExistsError."""
        try:
            os.link(f"/proc/self/fd/{number}", target, src_dir_fd=number)  # given one, Python follows that link
        except FileExistsError:
            raise
        except OSError:  # no /proc, or not for us: each further try would write and flush a file in vain
            self._named_only = True
            return False
        return True

    def get(self, key: str) -> bytes | None:
        """The bytes of an object, or None."""
        file = self._open(key)
        if file is None:
            return None
        with file:
            return file.read()

    def stream(self, key: str, start: int = 0, end: int | None = None) -> tuple[int, Iterator[bytes]] | None:
        """How long an object is, and its bytes from `start` up to `end` in chunks, or None."""
        size = self.size(key)
        return None if size is None else (size, _chunks(f"{self._folder}/{key}", start, size if end is None else end))

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
            os.unlink(f"{self._folder}/{key}")

    def entries(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Every key below a folder and when it was written; unfinished files that nobody writes any more go."""
        for key, entry in self._listed(prefix):
            with suppress(FileNotFoundError):  # deleted while it is listed
                yield key, datetime.fromtimestamp(_written(entry.stat()), UTC)

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key below a folder: its names alone, with no look at each file."""
        return (key for key, _ in self._listed(prefix))

    def _listed(self, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        try:
            found = list(os.scandir(f"{self._folder}/{prefix}"))
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in found:
            key = f"{prefix}/{entry.name}" if prefix else entry.name
            if entry.is_dir():
                yield from self._listed(key)
            elif not UNFINISHED.fullmatch(entry.name):
                yield key, entry
            else:
                with suppress(FileNotFoundError):
                    if time.time() - entry.stat().st_mtime > ABANDONED_S:
                        os.unlink(entry.path)

    def _places(self, key: str) -> tuple[str, str, str]:
        """The folder of an object, the file beside its place that becomes it, and its place."""
        inner, _, name = key.rpartition("/")
        folder = f"{self._folder}/{inner}" if inner else self._folder
        return folder, f"{folder}/.{name}.{secrets.token_hex(8)}.part", f"{folder}/{name}"

    def _open(self, key: str) -> BinaryIO | None:
        try:
            return open(f"{self._folder}/{key}", "rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def _write(self, folder: str, unfinished: str, data: bytes | Path) -> None:
        """Write and flush a new file, in a folder that is flushed."""
        self._make(folder)
        try:
            number = os.open(unfinished, NEW, 0o666)
        except FileNotFoundError:  # somebody cleared the folder away since it was seen
            self._known = set()
            self._make(folder)
            number = os.open(unfinished, NEW, 0o666)
        try:
            if isinstance(data, Path):
                with data.open("rb") as source:
                    for chunk in iter(lambda: source.read(CHUNK), b""):
                        _write_all(number, chunk)
            else:
                _write_all(number, data)
            _flush(number)
        except BaseException:
            _discard(unfinished)
            raise
        finally:
            os.close(number)

    def _make(self, folder: str) -> None:
        """Make a folder, if need be, and flush its name: also where another made it, who may not have come so far."""
        if folder in self._known:
            return
        if len(self._known) >= MOST_KNOWN:
            self._known = set()
        if folder == self._folder:
            _flush_above(folder)
        else:
            parent = folder.rpartition("/")[0]
            self._make(parent)
            with suppress(FileExistsError):
                os.mkdir(folder)
            _flush_folder(parent)
        self._known.add(folder)


def _written(found: os.stat_result) -> float:
    """Return when an object was written: the bytes of a hard link are older than its name, which changes the inode."""
    return max(found.st_mtime, found.st_ctime) if found.st_nlink > 1 else found.st_mtime


def _write_all(number: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(number, left) :]


def _discard(unfinished: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(unfinished)


def _flush(number: int) -> None:
    if FULLY is None:
        os.fsync(number)
    else:
        fcntl.fcntl(number, FULLY)


def _flush_folder(folder: str) -> None:
    with _opened(folder, os.O_RDONLY | os.O_DIRECTORY) as number:
        _flush(number)


def _flush_above(store: str) -> None:
    """Flush the name of a store's folder and of those above it, as far up as this user can make folders."""
    for folder in (path := Path(store).resolve(), *path.parents):
        if folder.is_mount() or not os.access(folder.parent, os.R_OK | os.W_OK):
            return
        _flush_folder(str(folder.parent))


@contextmanager
def _opened(path: str, flags: int) -> Iterator[int]:
    number = os.open(path, flags | os.O_CLOEXEC, 0o666)
    try:
        yield number
    finally:
        os.close(number)


def _chunks(path: str, start: int, end: int) -> Iterator[bytes]:
    with open(path, "rb") as file:
        file.seek(start)
        while chunk := file.read(min(CHUNK, end - start)):
            start += len(chunk)
            yield chunk
