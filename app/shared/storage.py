"""Object storage: every byte that must outlive a process, under keys made only of our own words and hashes.

| key | what | written by |
|---|---|---|
| `adapters/<sha256>.safetensors` | the bytes of an adapter | intake |
| `adapters/<sha256>[.<hash of ignore>].json` | its verdict | intake |
| `names/<name>/<version>.json` | one version of a name: which bytes, described how | intake |
| `names/<name>/deleted.json` | the name was deleted after this version | api |
| `uploads/<id>.safetensors`, `uploads/<id>.json` | an upload not yet inspected | api |
| `models/<name>.json`, `models/<name>.shapes.json` | a base model: what it takes; shapes of its weights | engine |
| `pending/<id>.json` | a generation that was accepted and has not ended | api |
| `generations/<id>/manifest.json`, `generations/<id>/<n>.png` | how a generation ended; its pictures | engine, api |
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, from_url

from app.shared.errors import Unavailable

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import RetryConfig

CHUNK = 1 << 20  # bytes of a stream at a time, at least
# By default a store that takes a connection and says nothing would be waited for three minutes
RETRIES: "RetryConfig" = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}


class Storage:
    """A flat space of keys; `create` is atomic, so whoever comes second is told.

    Raises `Unavailable` when the store does not answer.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        if parts.scheme == "file":
            folder = Path(unquote(parts.path))
            folder.mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(folder)
        else:
            self._store = from_url(url, retry_config=RETRIES)

    def put(self, key: str, data: bytes | Path) -> None:
        """Write `data` under `key`, replacing what was there."""
        try:
            obstore.put(self._store, key, data)
        except (BaseError, OSError) as error:
            raise _unavailable(key, error) from error

    def create(self, key: str, data: bytes) -> bool:
        """Write `data` under `key` unless something is there; say whether it was written."""
        try:
            obstore.put(self._store, key, data, mode="create")
        except AlreadyExistsError:
            return False
        except (BaseError, OSError) as error:
            raise _unavailable(key, error) from error
        return True

    def get(self, key: str) -> bytes | None:
        """The bytes under `key`, or None."""
        try:
            return bytes(obstore.get(self._store, key).bytes())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise _unavailable(key, error) from error

    def stream(self, key: str) -> tuple[int, Iterator[bytes]] | None:
        """How many bytes are under `key`, and they themselves in chunks, or None; the chunks raise Unavailable too."""
        try:
            found = obstore.get(self._store, key)
            return found.meta["size"], _chunks(key, found)
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise _unavailable(key, error) from error

    def size(self, key: str) -> int | None:
        """How many bytes are under `key`, or None."""
        try:
            return obstore.head(self._store, key)["size"]
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise _unavailable(key, error) from error

    def exists(self, key: str) -> bool:
        """Whether something is under `key`."""
        return self.size(key) is not None

    def delete(self, key: str) -> None:
        """Remove `key`; nothing happens when it is not there."""
        try:
            obstore.delete(self._store, key)
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise _unavailable(key, error) from error

    def rename(self, source: str, target: str) -> None:
        """Move an object; the target is complete from the first moment it is seen."""
        try:
            obstore.rename(self._store, source, target)
        except (BaseError, OSError) as error:
            raise _unavailable(source, error) from error

    def entries(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Every key below `prefix` (a whole folder, no trailing slash) and when it was written, in no order."""
        try:
            for chunk in obstore.list(self._store, prefix):
                yield from ((entry["path"], entry["last_modified"]) for entry in chunk)
        except (BaseError, OSError) as error:
            raise _unavailable(prefix, error) from error

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key below `prefix`, in no order."""
        return (key for key, _ in self.entries(prefix))

    def put_json(self, key: str, value: Any) -> None:
        """Write `value` as JSON under `key`."""
        self.put(key, json.dumps(value).encode())


def _chunks(key: str, found: "GetResult") -> Iterator[bytes]:
    try:
        for chunk in found.stream(min_chunk_size=CHUNK):
            yield bytes(chunk)
    except (BaseError, OSError) as error:
        raise _unavailable(key, error) from error


def _unavailable(key: str, error: Exception) -> Unavailable:
    return Unavailable("storage_unavailable", f"object storage did not take {key!r}: {type(error).__name__}: {error}")
