"""The adapter cache: object storage, then this machine's disk, then host memory, where adapters are kept as parsed.

The adapters of the running generation are never dropped. Several threads may ask; a missing file is fetched once.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Collection, Sequence
from threading import Lock
from weakref import WeakValueDictionary

import structlog

from app.shared.catalog import file_key
from app.shared.disposal import aside
from app.shared.errors import NotFound, RadiataError, Unavailable
from app.shared.settings import MIB, Settings
from app.shared.storage import Storage
from app.shared.wire.adapter import ResolvedAdapter
from lycoris import Adapter, load
from workers.adapters.counters import Counters
from workers.adapters.disk import DiskTier
from workers.patience import Patience

log = structlog.get_logger()

Key = tuple[str, tuple[str, ...]]  # sha256, ignored patterns
MEMORY, STORAGE = "memory", "storage"
PROBE = "store.json"  # is asked for, there or not, to see whether storage answers
PAUSES_S = (0.25, 1.0, 4.0)  # before another try to fetch, beside those that the store's own client makes


class AdapterCache:
    """Parsed adapters by their hash, least recently used goes first; a file is checked against it on the way in."""

    def __init__(
        self,
        storage: Storage,
        budget_bytes: int,
        disk: DiskTier | None = None,
        counters: Counters | None = None,
        patience: Patience | None = None,
    ):
        """patience: of a generation, with storage that is away as a whole; one that fails a single file has none."""
        self._storage = storage
        self._patience = patience or Patience(0)
        self._budget = budget_bytes
        self._disk = disk
        self.counters = counters or Counters()
        self._held: OrderedDict[Key, Adapter] = OrderedDict()
        self._pinned: frozenset[Key] = frozenset()
        self._ahead: set[Key] = set()  # those held that were prefetched and not asked for yet
        self._lock = Lock()  # of the four above; never held while something is fetched or parsed
        self._gates: WeakValueDictionary[Key, Lock] = WeakValueDictionary()  # one thread at a time loads a file

    def pin(self, stack: Sequence[ResolvedAdapter]) -> list[Adapter]:
        """The adapters of a stack, in its order; they stay until the next stack is pinned. Raises as `get` does."""
        with self._lock:
            self._pinned = frozenset(map(_key, stack))
        return [self.get(use) for use in stack]

    def get(self, use: ResolvedAdapter) -> Adapter:
        """The adapter with these bytes.

        Raises NotFound when storage has no such file, RadiataError when it cannot be fetched or is not what its name
        says, AdapterError when it is none.
        """
        key = _key(use)
        with self._lock:
            adapter = self._asked_for(key)
        self.counters.add_to_tier(MEMORY, hits=adapter is not None, misses=adapter is None)
        if adapter is not None:
            return adapter
        with self._gate(key):
            with self._lock:
                adapter = self._asked_for(key, late=True)
            if adapter is None:
                adapter = self._load(use, PAUSES_S)
                with self._lock:
                    self._keep(key, adapter, self._pinned)
        return adapter

    def prefetch(self, use: ResolvedAdapter, nearer: Collection[ResolvedAdapter]) -> None:
        """Have an adapter ready before it is asked for, if it fits beside what is pinned and what is needed `nearer`.

        Raises as `get` does; it does not try twice.
        """
        if use.kind == "control":  # which is no stack's; its file is had ready, where there is a disk to have it on
            if self._disk:
                self.data(use, ())
            return
        key = _key(use)
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return
        size = self._size(use.sha256)
        with self._gate(key):
            with self._lock:
                stays = self._pinned.union(map(_key, nearer))
                if key in self._held or size is None or size > self._room(stays):
                    return
            adapter = self._load(use, ())
            with self._lock:
                if adapter.nbytes <= self._room(self._pinned | stays):
                    self._ahead.add(key)
                    self._keep(key, adapter, self._pinned | stays)
        self.counters.add(prefetch_loads=1)

    @property
    def resident(self) -> frozenset[str]:
        """sha256 of every adapter that is in host memory."""
        with self._lock:
            return frozenset(sha256 for sha256, _ in self._held)

    @property
    def nbytes(self) -> int:
        """Bytes of tensors held."""
        return sum(adapter.nbytes for adapter in self._held.values())

    def data(self, use: ResolvedAdapter, pauses_s: Sequence[float] = PAUSES_S) -> bytes:
        """The bytes of an adapter's file, from the disk or from storage; raises as `get` does."""

        def fetch() -> bytes:
            return self._fetch(use, pauses_s)

        return self._disk.get(use.sha256, fetch) if self._disk else fetch()

    def _size(self, sha256: str) -> int | None:
        size = self._disk.size(sha256) if self._disk else None
        return self._storage.size(file_key(sha256)) if size is None else size

    def _gate(self, key: Key) -> Lock:
        with self._lock:
            return self._gates.setdefault(key, Lock())

    def _asked_for(self, key: Key, late: bool = False) -> Adapter | None:
        """Return what is held, as asked for by a generation; late: its prefetch had not come to an end by then."""
        adapter = self._held.get(key)
        if adapter is not None:
            self._held.move_to_end(key)
            if key in self._ahead:
                self._ahead.discard(key)
                self.counters.add(**{"prefetch_late" if late else "prefetch_hits": 1})
        return adapter

    def _room(self, stays: frozenset[Key]) -> int:
        return self._budget - sum(self._held[key].nbytes for key in stays if key in self._held)

    def _keep(self, key: Key, adapter: Adapter, stays: frozenset[Key]) -> None:
        """Hold an adapter, and drop what was used longest ago and need not stay, until all fit or nothing can go."""
        self._held[key] = adapter
        over = self.nbytes - self._budget
        for other in [other for other in self._held if other != key and other not in stays]:
            if over <= 0:
                break
            over -= self._held.pop(other).nbytes
            wasted = other in self._ahead
            self._ahead.discard(other)
            self.counters.add_to_tier(MEMORY, evictions=1)
            self.counters.add(prefetch_wasted=wasted)

    def _load(self, use: ResolvedAdapter, pauses_s: Sequence[float]) -> Adapter:
        data = self.data(use, pauses_s)
        start = time.perf_counter()
        adapter = load(data, ignore=use.ignore)
        self.counters.add_to_tier(MEMORY, bytes=adapter.nbytes, seconds=time.perf_counter() - start)
        return adapter

    def _fetch(self, use: ResolvedAdapter, pauses_s: Sequence[float]) -> bytes:
        """The bytes out of storage, with another try after each pause, if need be.

        A generation that only this file fails is over; while all storage is away, it waits.
        """
        for pause_s in (*pauses_s, None):
            try:
                return self._fetch_once(use)
            except Unavailable as error:
                if pause_s is None and (not pauses_s or self._answers()):
                    raise RadiataError("adapter_not_fetched", f"the file of {use.ref!r}: {error.message}") from error
                log.warning("adapter_not_fetched", ref=use.ref, error=error.message)
                time.sleep(pause_s or 0)
        self._patience.waits(self._storage.size, PROBE)
        return self._fetch(use, pauses_s)

    def _answers(self) -> bool:
        """Whether storage answers as a whole."""
        try:
            self._storage.size(PROBE)
        except Unavailable:
            return False
        return True

    def _fetch_once(self, use: ResolvedAdapter) -> bytes:
        start = time.perf_counter()
        size, found = 0, False
        try:
            key = file_key(use.sha256)
            data = self._storage.get(key) or aside(self._storage, key)
            if data is None:
                raise NotFound("adapter_file_missing", f"the file of adapter {use.ref!r} is not in storage any more")
            size = len(data)
            found = hashlib.sha256(data).hexdigest() == use.sha256
            if not found:
                raise RadiataError("adapter_corrupt", f"the stored file of {use.ref!r} does not match its sha256")
            return data
        finally:
            seconds = time.perf_counter() - start
            self.counters.add_to_tier(STORAGE, hits=found, misses=not found, bytes=size, seconds=seconds)


def open_cache(storage: Storage, settings: Settings, patience: Patience | None = None) -> AdapterCache:
    """The cache as the settings have it; without its disk tier where the folder cannot be made."""
    counters, disk = Counters(), None
    folder = settings.data_dir / "cache" / "adapters"
    if settings.disk_cache_bytes:
        try:
            disk = DiskTier(folder, settings.disk_cache_bytes, counters)
        except OSError as error:
            log.warning("disk_cache_failed", folder=str(folder), error=str(error))
    return AdapterCache(storage, settings.adapter_cache_mb * MIB, disk, counters, patience)


def _key(use: ResolvedAdapter) -> Key:
    return use.sha256, tuple(use.ignore)
