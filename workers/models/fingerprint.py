"""What tells one base from another: a hash over every byte that decides what it draws.

The sha256 of a large file is remembered in the data folder by the file's place, size, times and number (inode), since
reading every byte is most of what loading a base costs. Whatever writes into a file gives it another time (ctime, which
no program sets); a file that was written a moment ago, whose next writing might have the same time, is not remembered.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from workers.models.folder import INDEX, ModelFolder

REMEMBERED_BYTES = 1024 * 1024  # of a smaller file the hash costs as much as looking it up
SETTLED_S = 5.0


class Digests:
    """sha256 of files, remembered in a folder; without one, computed anew each time."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def of(self, file: Path) -> str:
        """sha256 over the bytes of a file. Raises OSError."""
        before = _facts(file)
        if self._folder is None or before["size"] < REMEMBERED_BYTES:
            return _read(file)
        noted = self._folder / f"{hashlib.sha256(str(before['path']).encode()).hexdigest()}.json"
        with suppress(OSError, ValueError, RecursionError):  # a note that cannot be read costs time and nothing else
            note = json.loads(noted.read_bytes())
            if isinstance(note, dict) and isinstance(sha256 := note.pop("sha256", None), str) and note == before:
                return sha256
        sha256 = _read(file)
        if before == _facts(file) and time.time() - before["ctime_ns"] / 1e9 > SETTLED_S:
            with suppress(OSError):
                self._folder.mkdir(parents=True, exist_ok=True)
                unfinished = noted.with_name(f".{secrets.token_hex(8)}.part")
                unfinished.write_text(json.dumps(before | {"sha256": sha256}))
                unfinished.replace(noted)
        return sha256


ANEW = Digests()


def fingerprint(
    folder: ModelFolder, quantize: str | None = None, without: Collection[str] = (), digests: Digests = ANEW
) -> str:
    """sha256 over every file of a base that decides what it draws, weights and configurations, and its quantisation.

    It does not know where the files are: a part from elsewhere counts as if it stood in the folder. without: parts that
    have a fingerprint of their own.
    """
    parts = [part for part in dict.fromkeys((*folder.index, *folder.parts)) if part not in without]
    files = {INDEX: folder.path / INDEX} | _files(folder, parts)
    if folder.checkpoint:
        files["/"] = folder.checkpoint.path
    total = _hashed(folder, files, digests)
    if quantize:  # other numbers, and other weights that can be merged into: another base
        total.update(f"quantize\0{quantize}\n".encode())
    return total.hexdigest()


def part_fingerprint(folder: ModelFolder, part: str, digests: Digests = ANEW) -> str:
    """sha256 over the files of one part of a base; empty where it has no such part."""
    found = _files(folder, [part] if folder.index.get(part, [None])[0] else [])
    return _hashed(folder, found, digests).hexdigest() if found else ""


def _files(folder: ModelFolder, parts: Iterable[str]) -> dict[str, Path]:
    """Return the files of parts by their names in the folder."""
    files: dict[str, Path] = {}
    for part in parts:
        left_out = part in folder.parts and folder.parts[part] is None
        if folder.place(part).is_dir() and not left_out:
            files |= {f"{part}/{file.name}": file for file in folder.place(part).iterdir() if file.is_file()}
        if (place := folder.parts.get(part)) and place.is_file():  # no name of a file of the folder ends so
            files[f"{part}/"] = place
    return files


def _hashed(folder: ModelFolder, files: Mapping[str, Path], digests: Digests) -> "hashlib._Hash":
    total = hashlib.sha256()
    for name, file in sorted(files.items(), key=lambda item: folder.path / item[0]):
        total.update(f"{name}\0{digests.of(file)}\n".encode())
    return total


def _read(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _facts(file: Path) -> dict[str, Any]:
    place = file.resolve()
    found = place.stat()
    times = {"mtime_ns": found.st_mtime_ns, "ctime_ns": found.st_ctime_ns}
    return {"path": str(place), "size": found.st_size, **times, "inode": found.st_ino, "device": found.st_dev}
