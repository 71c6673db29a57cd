"""The adapters that can be worn: names and versions in storage, an index of them in Redis.

A version of a name never changes and its number is never used again, also after the name was deleted. Creating
`names/<name>/<version>.json` decides who gets a number. The bytes of a deleted adapter stay (generations that were
accepted with it are drawn, and recipes stay true), but no new request can name them.

| Redis key | type | what | lives |
|---|---|---|---|
| `radiata:adapters` | hash | `name:version` to its record (JSON) | rebuilt when gone |
| `radiata:adapters:latest` | sorted set | name by newest version | rebuilt when gone |
| `radiata:adapters:sha:<sha256>` | set | `name:version` with these bytes | rebuilt when gone |
| `radiata:adapters:complete` | string | the three above hold all that storage does | as long as they do |
"""

import hashlib
import json
from collections.abc import Collection
from typing import Any, cast

from redis import Redis

from app.shared.errors import Gone, NotFound
from app.shared.schema import AdapterRecord, AdapterVersion
from app.shared.storage import Storage

INDEX = "radiata:adapters"
LATEST = "radiata:adapters:latest"
COMPLETE = "radiata:adapters:complete"


def file_key(sha256: str) -> str:
    """Where the bytes of an adapter are kept."""
    return f"adapters/{sha256}.safetensors"


def verdict_key(version: AdapterVersion) -> str:
    """Where the verdict on these bytes is kept, with these tensors left out."""
    left_out = f".{hashlib.sha256(json.dumps(version.ignore).encode()).hexdigest()[:16]}" if version.ignore else ""
    return f"adapters/{version.sha256}{left_out}.json"


class Catalog:
    """Finds adapters by name, version or hash, and takes new ones."""

    def __init__(self, storage: Storage, redis: Redis) -> None:
        self._storage = storage
        self._redis = redis

    # Finding

    def resolve(self, ref: str) -> AdapterVersion:
        """The version that `name`, `name:version` or `sha256:…` means now; raises NotFound or Gone."""
        self._ensure_index()
        name, _, number = ref.partition(":")
        if name == "sha256":
            holders = cast(set[bytes], self._redis.smembers(_sha_key(number)))
            text = cast(bytes | None, self._redis.hget(INDEX, min(holders).decode())) if holders else None
            if text is None:
                raise self._missing(ref, None)
            return AdapterVersion.model_validate_json(text)
        latest = cast(float | None, self._redis.zscore(LATEST, name))
        if latest is None:
            raise self._missing(ref, name)
        text = cast(bytes | None, self._redis.hget(INDEX, f"{name}:{number or int(latest)}"))
        if text is None:
            raise NotFound("adapter_unknown", f"adapter {name!r} has no version {number}; its newest is {int(latest)}")
        return AdapterVersion.model_validate_json(text)

    def _missing(self, ref: str, name: str | None) -> NotFound | Gone:
        if name and self.was_deleted(name):
            return Gone("adapter_deleted", f"adapter {name!r} was deleted; upload it again to use it")
        return NotFound("adapter_unknown", f"there is no adapter {ref!r}; see GET /v1/adapters, or upload it")

    def was_deleted(self, name: str) -> bool:
        """Whether the name was ever deleted, though it may be taken again."""
        return self._storage.exists(_tombstone_key(name))

    def record(self, ref: str) -> AdapterRecord:
        """A version with its verdict and the numbers of its sisters; raises NotFound or Gone."""
        version = self.resolve(ref)
        verdict = self._storage.get_json(verdict_key(version)) or {}
        return AdapterRecord(**version.model_dump(), versions=self._versions(version.name), verdict=verdict)

    def _versions(self, name: str) -> list[int]:
        # Asked of storage: one folder holds one name, and names are rarely shown
        return self._living(name, list(self._storage.keys(f"names/{name}")))

    def _living(self, name: str, keys: Collection[str]) -> list[int]:
        # The tombstone decides; the files of what it ends go after it, or not, if the deleter died
        last = self._last_number(name, []) if _tombstone_key(name) in keys else 0
        return sorted(number for key in keys if (number := _number(key)) is not None and number > last)

    def newest(self) -> list[AdapterVersion]:
        """The newest version of every name, by name."""
        self._ensure_index()
        latest = cast(list[tuple[bytes, float]], self._redis.zrange(LATEST, 0, -1, withscores=True))
        if not latest:
            return []
        fields = [f"{name.decode()}:{int(version)}" for name, version in latest]
        found = cast(list[bytes | None], self._redis.hmget(INDEX, fields))
        return sorted((AdapterVersion.model_validate_json(text) for text in found if text), key=lambda one: one.name)

    # Taking and deleting

    def admit(self, version: AdapterVersion, verdict: dict[str, Any]) -> tuple[AdapterVersion, bool]:
        """Give inspected bytes a name and the next free number; say whether that was new.

        The file must be in storage already. The same bytes under the same name with the same `ignore` are the version
        they were before.
        """
        self._storage.put_json(verdict_key(version), verdict)
        while True:
            numbers = self._versions(version.name)
            if known := self._same(version.name, numbers, version.sha256, version.ignore):
                return self._refitted(known, version), False
            number = self._last_number(version.name, numbers) + 1
            numbered = version.model_copy(update={"version": number})
            key = f"names/{version.name}/{number}.json"
            if self._storage.create(key, numbered.model_dump_json().encode()):
                self._index(numbered)
                return numbered, True

    def has(self, name: str, sha256: str, model: str) -> bool:
        """Whether a version of the name is these bytes, whole, found to fit the model, with file and verdict."""
        known = self._same(name, self._versions(name), sha256, [])
        if known is None or model not in known.fits:
            return False
        self._index(known)  # whoever admitted it may have died before
        return self._storage.exists(file_key(sha256)) and self._storage.exists(verdict_key(known))

    def _same(self, name: str, numbers: list[int], sha256: str, ignore: list[str]) -> AdapterVersion | None:
        for number in numbers:
            known = self._read(f"names/{name}/{number}.json")
            if known and (known.sha256, known.ignore) == (sha256, ignore):
                return known
        return None

    def _refitted(self, known: AdapterVersion, seen_again: AdapterVersion) -> AdapterVersion:
        # A model that came later: the bytes were judged against it now, and where they fit can only grow
        fits = sorted({*known.fits, *seen_again.fits})
        if fits != known.fits:
            known = known.model_copy(update={"fits": fits})
            self._storage.put(f"names/{known.name}/{known.version}.json", known.model_dump_json().encode())
        self._index(known)
        return known

    def delete(self, name: str) -> None:
        """Delete a name with all its versions; raises NotFound or Gone."""
        self.resolve(name)
        numbers = self._versions(name)
        self._storage.put_json(_tombstone_key(name), {"last_version": self._last_number(name, numbers)})
        self._redis.zrem(LATEST, name)
        for number in numbers:
            if version := self._read(f"names/{name}/{number}.json"):
                self._redis.srem(_sha_key(version.sha256), f"{name}:{number}")
            self._storage.delete(f"names/{name}/{number}.json")
            self._redis.hdel(INDEX, f"{name}:{number}")
        for number in self._versions(name):
            if came_meanwhile := self._read(f"names/{name}/{number}.json"):
                self._index(came_meanwhile)

    def _last_number(self, name: str, numbers: list[int]) -> int:
        gone = self._storage.get_json(_tombstone_key(name)) or {"last_version": 0}
        return max([*numbers, gone["last_version"]])

    def _read(self, key: str) -> AdapterVersion | None:
        data = self._storage.get(key)
        return None if data is None else AdapterVersion.model_validate_json(data)

    # The index

    def _index(self, version: AdapterVersion) -> None:
        field = f"{version.name}:{version.version}"
        with self._redis.pipeline() as pipe:
            pipe.hset(INDEX, field, version.model_dump_json())
            pipe.zadd(LATEST, {version.name: version.version}, gt=True)
            pipe.sadd(_sha_key(version.sha256), field)
            pipe.execute()

    def _ensure_index(self) -> None:
        if self._redis.exists(COMPLETE):
            return
        by_name: dict[str, list[str]] = {}
        for key in self._storage.keys("names"):
            by_name.setdefault(key.split("/")[1], []).append(key)
        for name, keys in by_name.items():
            for number in self._living(name, keys):
                if version := self._read(f"names/{name}/{number}.json"):
                    self._index(version)
        self._redis.set(COMPLETE, 1)


def _sha_key(sha256: str) -> str:
    return f"radiata:adapters:sha:{sha256}"


def _tombstone_key(name: str) -> str:
    return f"names/{name}/deleted.json"


def _number(key: str) -> int | None:
    stem = key.rsplit("/", 1)[-1].removesuffix(".json")
    return int(stem) if stem.isdigit() else None
