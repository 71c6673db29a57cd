"""What is computed once for a training and read at many steps: under a hash of everything that decides it.

No name and no time of a file is part of a key; an unknown key is computed anew. What cannot be read is, too.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load as load_tensors
from safetensors.torch import save
from torch import Tensor

VERSION = 1  # of what is kept and how; another one is another key
MEMORY = 512 << 20  # bytes in memory
STRUCTURE = "structure"  # entry of a file's header
PLAIN = (type(None), bool, int, float, str)


class NotKept(TypeError):
    """A value that has no form on the disk."""


def key_of(*parts: object) -> str:
    """Return the key of what these parts decide."""
    return sha256(json.dumps([VERSION, *map(str, parts)]).encode()).hexdigest()


class Kept:
    """Values of tensors, lists and dictionaries by key, in a folder and partly in memory; without a folder in memory.

    Tensors are kept on the CPU.
    """

    def __init__(self, folder: Path | None = None, memory: int = MEMORY) -> None:
        self._folder = folder
        self._memory = memory
        self._held: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        if folder:
            folder.mkdir(parents=True, exist_ok=True)

    def value(self, key: str, make: Callable[[], Any]) -> Any:
        """Return the value of a key, made where there is none."""
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key][0]
        value = self._read(key)
        if value is None:
            value = on(make(), "cpu")
            self._write(key, value)
        self._hold(key, value)
        return value

    def shrink(self, most: int) -> None:
        """Forget what was used longest ago in the folder, until it has at most so many bytes; it would be made anew."""
        files: list[tuple[float, int, Path]] = []
        for file in self._folder.glob("*") if self._folder else ():
            with suppress(FileNotFoundError):  # another training forgets too
                found = file.stat()
                files.append((found.st_mtime, found.st_size, file))
        over = sum(size for _, size, _ in files) - most
        for _, size, file in sorted(files):
            if over <= 0:
                return
            file.unlink(missing_ok=True)
            over -= size

    def _hold(self, key: str, value: Any) -> None:
        size = _nbytes(value)
        self._held[key] = value, size
        self._bytes += size
        while self._folder and self._bytes > self._memory and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1][1]

    def _read(self, key: str) -> Any:
        file = self._folder and self._folder / f"{key}.safetensors"
        if not file or not file.is_file():
            return None
        try:
            data = file.read_bytes()
            os.utime(file)  # what was used longest ago is forgotten first
        except FileNotFoundError:  # forgotten just now
            return None
        try:
            tensors = load_tensors(data)
            structure = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"][STRUCTURE]
            return _whole(json.loads(structure), tensors)
        except (safetensors.SafetensorError, KeyError, ValueError, TypeError, RecursionError):
            return None

    def _write(self, key: str, value: Any) -> None:
        if not self._folder:
            return
        tensors: dict[str, Tensor] = {}
        try:
            structure = _structure(value, tensors)
        except NotKept:
            return  # and made anew by the next process
        partial = self._folder / f"{key}.{os.getpid()}.partial"  # another training may compute the same
        try:
            partial.write_bytes(save(tensors, {STRUCTURE: json.dumps(structure)}))
            partial.replace(self._folder / f"{key}.safetensors")
        except OSError:  # a full disk, say: it is in memory, and made anew by the next process
            partial.unlink(missing_ok=True)


def on(value: Any, device: Any) -> Any:
    """Return a value with its tensors on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: on(one, device) for name, one in value.items()}
    return type(value)(on(one, device) for one in value) if type(value) in (list, tuple) else value


def _structure(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().contiguous().clone()
        return {"tensor": name}
    if type(value) is dict:
        return {"dict": {name: _structure(one, tensors) for name, one in value.items()}}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_structure(one, tensors) for one in value]}
    if isinstance(value, PLAIN):
        return {"plain": value}
    raise NotKept(type(value).__name__)


def _whole(structure: Any, tensors: dict[str, Tensor]) -> Any:
    ((kind, held),) = structure.items()
    if kind == "tensor":
        return tensors[held]
    if kind == "dict":
        return {name: _whole(one, tensors) for name, one in held.items()}
    if kind in ("list", "tuple"):
        found = [_whole(one, tensors) for one in held]
        return found if kind == "list" else tuple(found)
    return held


def _nbytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.nbytes
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sum(map(_nbytes, children))
