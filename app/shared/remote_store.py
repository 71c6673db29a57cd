"""Object storage behind a URL (S3, Google, Azure, memory), through obstore.

What is slow to come is not waited for here: a call that nobody answers ends within some seconds, and whoever can wait
longer calls again. Durability is the store's own promise: S3, Google and Azure answer when an object is safe.
"""

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import from_url

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore.store import ClientConfig, RetryConfig

CHUNK = 1 << 20  # bytes of a stream at a time, at least
LARGE = 1 << 20  # bytes from which on sending may take longer than an answer
# By default a store that takes a connection and says nothing would be waited for three minutes
RETRIES: "RetryConfig" = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=4),
    "backoff": {"init_backoff": timedelta(milliseconds=50), "max_backoff": timedelta(seconds=1), "base": 2},
}
CONNECT = timedelta(seconds=2)
READ = timedelta(seconds=5)  # without a byte; an answer that comes slowly may take as long as it takes
SEND = timedelta(seconds=120)  # for a part of a large object to be sent and answered
WHOLE = timedelta(hours=1)  # obstore's own 30 s would cut a large file off
# Options of the client that obstore reads from the environment, but not where any are given
VARIABLES = {"s3": "AWS", "s3a": "AWS", "gs": "GOOGLE", "az": "AZURE", "azure": "AZURE", "abfs": "AZURE"}
SWITCHES = ("allow_http", "allow_invalid_certificates")
VALUES = ("proxy_url", "proxy_ca_certificate", "proxy_excludes", "root_certificate")


class RemoteStore:
    """The object store at a URL. Raises obstore's BaseError or OSError for what it does not do."""

    def __init__(self, url: str) -> None:
        client: ClientConfig = {**_environment(url), "connect_timeout": CONNECT, "read_timeout": READ, "timeout": WHOLE}
        patient: ClientConfig = {**client, "read_timeout": SEND}
        if url.startswith("memory:"):
            self._store = self._large = from_url(url)
        else:
            self._store = from_url(url, client_options=client, retry_config=RETRIES)
            self._large = from_url(url, client_options=patient, retry_config=RETRIES)

    def put(self, key: str, data: bytes | Path) -> None:
        """Write an object, replacing what was there."""
        obstore.put(self._large if _is_large(data) else self._store, key, data)

    def copy(self, source: str, key: str) -> bool:
        """Have the bytes of one object under a second key as well, copied by the store; say whether there are any."""
        try:
            obstore.copy(self._large, source, key)
        except FileNotFoundError:
            return False
        return True

    async def put_async(self, key: str, data: bytes | Path) -> None:
        """As `put`."""
        await obstore.put_async(self._large if _is_large(data) else self._store, key, data)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless one is there; say whether it was written."""
        try:
            obstore.put(self._large if _is_large(data) else self._store, key, data, mode="create")
        except AlreadyExistsError:
            return self.get(key) == data  # ours, where the answer to the first try was lost on the way
        return True

    async def create_async(self, key: str, data: bytes) -> bool:
        """As `create`."""
        try:
            await obstore.put_async(self._large if _is_large(data) else self._store, key, data, mode="create")
        except AlreadyExistsError:
            return await self.get_async(key) == data
        return True

    def flush(self, key: str) -> None:
        """Nothing: what can be read is safe."""

    def get(self, key: str) -> bytes | None:
        """The bytes of an object, or None."""
        try:
            return bytes(obstore.get(self._store, key).bytes())
        except FileNotFoundError:
            return None

    async def get_async(self, key: str) -> bytes | None:
        """As `get`."""
        try:
            return bytes(await (await obstore.get_async(self._store, key)).bytes_async())
        except FileNotFoundError:
            return None

    def stream(self, key: str, start: int = 0, end: int | None = None) -> tuple[int, Iterator[bytes]] | None:
        """How long an object is, and its bytes from `start` up to `end` in chunks, or None."""
        options: GetOptions = {}
        if end is not None:
            options = {"range": (start, end)}
        elif start:
            options = {"range": {"offset": start}}
        try:
            found = obstore.get(self._store, key, options=options)
        except FileNotFoundError:
            return None
        return found.meta["size"], _chunks(found)

    def size(self, key: str) -> int | None:
        """How long an object is, or None."""
        try:
            return obstore.head(self._store, key)["size"]
        except FileNotFoundError:
            return None

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        try:
            obstore.delete(self._store, key)
        except FileNotFoundError:
            return

    async def delete_async(self, key: str) -> None:
        """As `delete`."""
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return

    def entries(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Every key below a folder and when it was written."""
        for chunk in obstore.list(self._store, prefix or None):
            yield from ((entry["path"], entry["last_modified"]) for entry in chunk)

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key below a folder."""
        return (key for key, _ in self.entries(prefix))


def _environment(url: str) -> "ClientConfig":
    prefix = VARIABLES.get(urlsplit(url).scheme, "")
    found: dict[str, Any] = {name: os.environ.get(f"{prefix}_{name.upper()}") for name in (*SWITCHES, *VALUES)}
    given = {name: value for name, value in found.items() if value is not None}
    return cast("ClientConfig", {name: _is_on(value) if name in SWITCHES else value for name, value in given.items()})


def _is_on(value: str) -> bool:
    return value.lower() in ("1", "true", "on", "yes", "y")


def _is_large(data: bytes | Path) -> bool:
    return isinstance(data, Path) or len(data) > LARGE


def _chunks(found: "GetResult") -> Iterator[bytes]:
    for chunk in found.stream(min_chunk_size=CHUNK):
        yield bytes(chunk)
