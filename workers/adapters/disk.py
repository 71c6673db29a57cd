"""The disk tier: adapter files on this machine's disk, by their sha256, bounded in bytes, shared by its engines.

A file is written as `<sha256>.part` and renamed to `<sha256>` when it is whole. The unfinished file is also the lock
(flock) under which it is made: whoever waits for it finds it renamed, or taken away when the fetch failed. A process
that is killed half-way leaves a part that nobody holds: the next one to want it, or to start, clears it away. Nothing
is forced to the platter: what a power cut spoils does not have its hash any more, and is fetched again.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import structlog

from workers.adapters.counters import Counters

log = structlog.get_logger()

TIER = "disk"
PART = ".part"
LOCK = ".lock"  # held while room is made and names change, so that two who write at once do not take the same room


class DiskTier:
    """Files by hash in one folder; least recently used go first. It is never in the way: what fails here is fetched."""

    def __init__(self, folder: Path, budget_bytes: int, counters: Counters) -> None:
        """Use `folder`, made if need be; raises OSError when that cannot be."""
        self._folder = folder
        self._budget = budget_bytes
        self._counters = counters
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob(f"*{PART}"):
            _clear_if_dead(part)

    def get(self, sha256: str, fetch: Callable[[], bytes]) -> bytes:
        """The bytes with this hash: from disk, or from `fetch` and then on disk too.

        fetch: returns bytes that have this hash; of all threads and processes that want them, one calls it. Raises what
        it raises.
        """
        data = self._read(sha256)
        while data is None:
            try:
                part = (self._folder / f"{sha256}{PART}").open("ab")
            except OSError as error:
                return self._without(error, fetch)
            with part:
                try:
                    fcntl.flock(part, fcntl.LOCK_EX)
                except OSError as error:  # a file system that knows no locks
                    return self._without(error, fetch)
                data = self._read(sha256)
                if data is None and _in_place(part):
                    data = self._make(sha256, part, fetch)
        return data

    def size(self, sha256: str) -> int | None:
        """How many bytes the file with this hash has, or None where it is not on disk."""
        try:
            return (self._folder / sha256).stat().st_size
        except OSError:
            return None

    def _without(self, error: OSError, fetch: Callable[[], bytes]) -> bytes:
        log.warning("disk_cache_failed", folder=str(self._folder), error=str(error))
        self._counters.add_to_tier(TIER, misses=1)
        return fetch()

    def _read(self, sha256: str) -> bytes | None:
        path = self._folder / sha256
        start = time.perf_counter()
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if hashlib.sha256(data).hexdigest() != sha256:
            log.warning("cached_file_corrupt", path=str(path))
            with suppress(OSError):  # gone meanwhile, or not ours to delete
                path.unlink()
            return None
        with suppress(OSError):  # gone meanwhile
            os.utime(path)
        self._counters.add_to_tier(TIER, hits=1, bytes=len(data), seconds=time.perf_counter() - start)
        return data

    def _make(self, sha256: str, part: BinaryIO, fetch: Callable[[], bytes]) -> bytes:
        """Fetch the bytes and leave them whole in the folder; `part` is locked."""
        self._counters.add_to_tier(TIER, misses=1)
        written = False
        try:
            data = fetch()
            try:
                written = self._write(sha256, part, data)
            except OSError as error:
                log.warning("disk_cache_failed", folder=str(self._folder), error=str(error))
        finally:
            if not written:
                with suppress(OSError):
                    Path(part.name).unlink()
        return data

    def _write(self, sha256: str, part: BinaryIO, data: bytes) -> bool:
        with self._alone():
            part.truncate(0)  # what a killed writer left
            if not self._make_room(len(data)):
                return False
            part.truncate(len(data))  # the room is taken from now on
        with Path(part.name).open("r+b") as file:  # `part` would append
            file.write(data)
        with self._alone():  # or whoever adds up just now might see it under neither name
            Path(part.name).rename(self._folder / sha256)
        return True

    def _make_room(self, size: int) -> bool:
        """Delete what was used longest ago until `size` more bytes fit; False when they never would."""
        if size > self._budget:
            return False
        total, whole = size, []
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):
                stat = entry.stat()
                total += stat.st_size
                if not entry.name.endswith((PART, LOCK)):
                    whole.append((stat.st_mtime_ns, stat.st_size, Path(entry.path)))
        for _, freed, path in sorted(whole):
            if total <= self._budget:
                break
            path.unlink(missing_ok=True)  # whoever reads it goes on reading
            total -= freed
            self._counters.add_to_tier(TIER, evictions=1)
        return total <= self._budget

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._folder / LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _in_place(part: BinaryIO) -> bool:
    """Whether an open file is still what its name leads to."""
    try:
        return os.path.samestat(os.fstat(part.fileno()), Path(part.name).stat())
    except FileNotFoundError:
        return False


def _clear_if_dead(part: Path) -> None:
    """Remove an unfinished file whose writer is no more."""
    with suppress(OSError), part.open("rb") as file:  # OSError: it is gone, or its writer lives and holds it
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _in_place(file):
            part.unlink()
