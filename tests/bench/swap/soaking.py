"""Swap after swap over adapters out of the cache: what the benchmark does for long and the tests for a moment."""

import gc
import hashlib
import random
from collections.abc import Sequence

import psutil

from app.shared.catalog import file_key
from app.shared.storage import Storage
from app.shared.wire.adapter import ResolvedAdapter
from lycoris import Patcher
from lycoris.patcher import StackEntry
from workers.adapters.cache import AdapterCache


def stored(storage: Storage, data: bytes, number: int) -> ResolvedAdapter:
    """Put an adapter's file into storage, and return what a resolved request says of it."""
    sha256 = hashlib.sha256(data).hexdigest()
    storage.put(file_key(sha256), data)
    name = f"soak-{number}"
    return ResolvedAdapter.model_validate({"ref": name, "name": name, "version": 1, "sha256": sha256})


class Soak:
    """Stacks of one to three adapters drawn at random, the same for the same seed."""

    def __init__(
        self, patcher: Patcher, cache: AdapterCache, adapters: Sequence[ResolvedAdapter], seed: int = 0
    ) -> None:
        self.patcher = patcher
        self._cache = cache
        self._adapters = adapters
        self._source = random.Random(seed)

    def swap(self) -> None:
        """Swap to the next stack."""
        drawn = self._source.sample(self._adapters, self._source.randint(1, min(3, len(self._adapters))))
        self.patcher.swap([StackEntry(adapter, self._source.uniform(-1, 1)) for adapter in self._cache.pin(drawn)])

    def resident(self) -> int:
        """Resident bytes of this process, after a collection."""
        gc.collect()
        return psutil.Process().memory_info().rss
