"""Object storage: every byte that must outlive a process, under keys made only of our own words and hashes.

| key | what | written by |
|---|---|---|
| `adapters/<sha256>.safetensors` | the bytes of an adapter | intake |
| `adapters/<sha256>[.<hash of ignore>].json` | its verdicts, by model | intake |
| `adapters/<sha256>[.<hash of ignore>].facts.json` | what acceptance has to know of it | intake |
| `names/<name>/<version>.json` | one version of a name: which bytes, described how | intake |
| `names/<name>/deleted.json` | the name was deleted after this version | api |
| `uploads/<id>.safetensors`, `uploads/<id>.json` | an upload not yet inspected, whatever its kind | api |
| `uploads/<id>.end` | whether it gets its name or is canceled, when both are about to be | api, intake |
| `settled/<id>.json` | what became of an upload, for an hour: it outlives Redis | intake, api |
| `fetching/<id>.json` | a file of another host that is to become an upload | api |
| `resumable/<id>.json`, `resumable/<id>/<offset>` | a file that comes in parts; a part of it | api |
| `webhooks/due/<id>.json` | a generation's end that is to be told | whoever ends it, api |
| `webhooks/done/<id>.json` | how that went, for a week | api |
| `models/<name>.json`, `models/<name>.shapes.json` | a base model: what it takes; shapes of its weights | engine |
| `models/<name>.tokenizers.json`, `models/<name>.sites.json` | tokenizers; where bypass and recompute can be | engine |
| `models/<name>.denoiser.json` | how its denoiser is made | engine |
| `models/<name>.layers.json` | which of its layers can be trained | engine |
| `pending/<id>.json` | a generation that was accepted and has not ended | api |
| `used/trainings/<id>.json` | what a training used, for ever (`app/shared/usage.py`) | whoever ends it |
| `unindexed/…`, `index/<day>-<n>.jsonl` | what lists are made of (`app/shared/segments.py`) | whoever ends it, api |
| `store.json` | the id of this store | whoever comes first |
| `keys/<id>.json`, `keys/<id>.revoked` | a key (`app/shared/keys.py`); that it was revoked | `radiata keys` |
| `secret.json` | what the service signs with | api, when it first signs |
| `doctor/<id>` | a try whether storage takes, gives and deletes | `radiata doctor`, for a moment |
| `generations/<id>/manifest.json` | how a generation ended, or that it was deleted | engine, api |
| `generations/<id>/<n>.<kind>` | its pictures | engine |
| `deleted/<id>.json` | that a generation was deleted, for a week | api, whoever sweeps |
| `starred/<id>` | a star, or that it is forgotten for its age (`app/shared/stars.py`) | api, whoever sweeps |
| `unneeded/<key>`, `trash/…` | bytes that may go, and that are going (`app/shared/disposal.py`) | intake, api, gc |
| `pictures/<sha256 of pixels>.png` | a picture that requests draw from (`app/shared/pictures.py`) | intake, engine |
| `datasets/<sha256 of content>.json` | pictures with captions to train on (`app/shared/datasets.py`) | intake, api |
| `datasets/sent/<sha256 of what was sent>.json` | which dataset that came to | intake |

A local folder is `app/shared/local_store.py`'s, everything else `app/shared/remote_store.py`'s; one suite of tests runs
over all of them.
"""

import asyncio
import errno
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError

from app.shared.at_once import about_to_wait
from app.shared.errors import NoRoom, Unavailable
from app.shared.local_store import LocalStore
from app.shared.metrics import tally
from app.shared.remote_store import RemoteStore

T = TypeVar("T")
_PART = r"[^./#\\\x00-\x1f\x7f\ud800-\udfff][^/#\\\x00-\x1f\x7f\ud800-\udfff]*"
KEY = re.compile(f"{_PART}(/{_PART})*")
FLUSHES = 16  # threads that write to a local folder at once: they wait for the disk, not for each other
FILES = 3  # others that copy whole files there, for seconds or minutes each: no record waits behind them
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_SAYS = ("507 Insufficient Storage", "QuotaExceeded", "StorageFull")  # as S3's servers do


class Storage:
    """A flat space of keys; `create` is atomic, so whoever comes second is told, and no reader sees half an object.

    Raises `Unavailable` when the store does not answer, `NoRoom` when it is full, ValueError for what is no key. What
    is written lies on the disk, or where the store keeps it, before a writing verb returns. The verbs that end in
    `_async` do the same and hold no thread of their caller: many writes in flight at once share what a flush costs.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self._local = LocalStore(Path(unquote(parts.path))) if parts.scheme == "file" else None
        self._store = self._local or RemoteStore(url)

    def put(self, key: str, data: bytes | Path) -> None:
        """Write `data` under `key`, replacing what was there."""
        with _told(key):
            self._store.put(_checked(key), data)

    def create(self, key: str, data: bytes) -> bool:
        """Write `data` under `key` unless something else is there; say whether `data` is what is there now."""
        with _told(key):
            return self._store.create(_checked(key), data)

    def copy(self, source: str, key: str) -> bool:
        """Have the bytes of one object under a second key as well, replacing what was there; False without a source."""
        with _told(key):
            return self._store.copy(_checked(source), _checked(key))

    def take(self, key: str, file: Path) -> str | None:
        """Have a file of this machine under `key`, linked where that can be; say how, or None for a store elsewhere."""
        with _told(key):
            return self._local.take(_checked(key), file) if self._local else None

    def flush(self, key: str) -> None:
        """Make sure that what was read under `key` lies where `create` puts things: its writer may not be so far."""
        with _told(key):
            self._store.flush(_checked(key))

    def get(self, key: str) -> bytes | None:
        """The bytes under `key`, or None."""
        with _told(key):
            return self._store.get(_checked(key))

    def stream(self, key: str, start: int = 0, end: int | None = None) -> tuple[int, Iterator[bytes]] | None:
        """How many bytes are under `key`, and those from `start` up to `end` in chunks, or None.

        start: before the end of the object. The chunks raise Unavailable too.
        """
        with _told(key):
            found = self._store.stream(_checked(key), start, end)
        return None if found is None else (found[0], _told_all(key, found[1]))

    def size(self, key: str) -> int | None:
        """How many bytes are under `key`, or None."""
        with _told(key):
            return self._store.size(_checked(key))

    def exists(self, key: str) -> bool:
        """Whether something is under `key`."""
        return self.size(key) is not None

    def delete(self, key: str) -> None:
        """Remove `key`; nothing happens when it is not there."""
        with _told(key):
            self._store.delete(_checked(key))

    def entries(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Every key below `prefix` (a whole folder; "" is all of them) and when it was written, in no order."""
        yield from _told_all(prefix, self._store.entries(_checked(prefix) if prefix else ""))

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key below `prefix`, in no order; cheaper than `entries`."""
        yield from _told_all(prefix, self._store.keys(_checked(prefix) if prefix else ""))

    def put_json(self, key: str, value: Any) -> None:
        """Write `value` as JSON under `key`."""
        self.put(key, json.dumps(value).encode())

    # Many at once

    async def put_async(self, key: str, data: bytes | Path) -> None:
        """As `put`."""
        with _told(key):
            await self._soon("put", _checked(key), data, files=isinstance(data, Path))

    async def create_async(self, key: str, data: bytes) -> bool:
        """As `create`."""
        with _told(key):
            return await self._soon("create", _checked(key), data)

    async def get_async(self, key: str) -> bytes | None:
        """As `get`."""
        with _told(key):
            return await self._soon("get", _checked(key))

    async def delete_async(self, key: str) -> None:
        """As `delete`."""
        with _told(key):
            await self._soon("delete", _checked(key))

    async def _soon(self, verb: str, *arguments: Any, files: bool = False) -> Any:
        if self._local is None:
            return await getattr(self._store, f"{verb}_async")(*arguments)
        call: Callable[[], Any] = partial(getattr(self._local, verb), *arguments)
        return await asyncio.get_running_loop().run_in_executor(self._file_threads if files else self._threads, call)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(FLUSHES, thread_name_prefix="storage")

    @cached_property
    def _file_threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(FILES, thread_name_prefix="storage-files")


def _checked(key: str) -> str:
    """`key`, which is made of our own words; raises ValueError should it ever not be."""
    if not KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key: it could mean a place outside the store")
    return key


@contextmanager
def _told(key: str) -> Iterator[None]:
    """Turn what the store says into errors that a caller can be told."""
    about_to_wait()
    try:
        yield
    except (BaseError, OSError) as error:
        tally("storage_errors")
        why = f"{type(error).__name__}: {error}".partition("\n")[0]  # obstore adds a page of what it holds
        if getattr(error, "errno", None) in FULL or any(words in why for words in FULL_SAYS):
            raise NoRoom("no_room", f"storage has no room for {key!r} ({why}): free some, or add some") from error
        raise Unavailable("storage_unavailable", f"object storage did not take {key!r}: {why}") from error


def _told_all(key: str, pieces: Iterator[T]) -> Iterator[T]:
    with _told(key):
        yield from pieces
