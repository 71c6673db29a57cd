"""The adapter cache: object storage to host memory, least recently used goes first, bounded in bytes."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from app.shared.catalog import file_key
from app.shared.errors import NotFound, RadiataError
from app.shared.schema import AdapterWorn
from app.shared.storage import Storage
from lycoris.adapter import Adapter, load

Key = tuple[str, tuple[str, ...]]  # sha256, ignored patterns


@dataclass
class CacheCounts:
    """What the cache did since it was made."""

    hits: int = 0
    misses: int = 0
    bytes_fetched: int = 0


class AdapterCache:
    """Parsed adapters by their hash; a file is checked against it on the way in."""

    def __init__(self, storage: Storage, budget_bytes: int) -> None:
        self._storage = storage
        self._budget = budget_bytes
        self._held: OrderedDict[Key, Adapter] = OrderedDict()
        self.counts = CacheCounts()

    def get(self, worn: AdapterWorn) -> Adapter:
        """The adapter with these bytes.

        Raises NotFound when storage has no such file, RadiataError when it is not what its name says, AdapterError
        when it cannot be worn.
        """
        key = (worn.sha256, tuple(worn.ignore))
        if key in self._held:
            self.counts.hits += 1
            self._held.move_to_end(key)
            return self._held[key]
        self.counts.misses += 1
        adapter = self._fetch(worn)
        self._held[key] = adapter
        while self.nbytes > self._budget and len(self._held) > 1:
            self._held.popitem(last=False)
        return adapter

    @property
    def nbytes(self) -> int:
        """Bytes of tensors held."""
        return sum(adapter.nbytes for adapter in self._held.values())

    def _fetch(self, worn: AdapterWorn) -> Adapter:
        data = self._storage.get(file_key(worn.sha256))
        if data is None:
            raise NotFound("adapter_file_missing", f"the file of adapter {worn.ref!r} is not in storage any more")
        if hashlib.sha256(data).hexdigest() != worn.sha256:
            raise RadiataError("adapter_corrupt", f"the stored file of {worn.ref!r} does not match its sha256")
        self.counts.bytes_fetched += len(data)
        return load(data, ignore=worn.ignore)
