"""Prefetch: while one generation is drawn, the adapters of those that wait next are brought into memory.

One thread of the engine, one file at a time, in the order of the queue (a worker may leave that order for what suits it
better, and what is in memory suits it). It decides nothing but what is in memory: a prefetch that fails leaves the
fetching, and the failing, to the generation that needs the file.
Fetching, reading and hashing run beside the drawing; parsing takes the interpreter's lock in turns with it, and costs a
drawing on a CPU as much as it would cost the next generation in line. The thread is of no lower priority than others:
on a busy machine it would hold that lock longer, and the drawing would wait for it.
"""

from collections.abc import Iterable, Iterator
from threading import Event, Thread

import structlog
from redis.exceptions import RedisError

from app.shared.errors import RadiataError
from app.shared.generations import Ledger
from app.shared.queue import generation_queues
from app.shared.wire.adapter import ResolvedAdapter
from lycoris import AdapterError
from workers.adapters.cache import AdapterCache

log = structlog.get_logger()

LOOK_EVERY_S = 0.5  # at the queue, while one generation is drawn


class Prefetcher:
    """Looks at the first generations that wait for a model, while it may."""

    def __init__(
        self, cache: AdapterCache, ledger: Ledger, model: str, ahead: int, base: str = "", needs: Iterable[str] = ()
    ) -> None:
        """ahead: at how many generations it looks; with 0 it does nothing. needs: as of `generation_queues`."""
        self._cache = cache
        self._ledger = ledger
        self._queues = [ledger.queues.of(name) for name in generation_queues(model, base, [*needs])]
        self._ahead = ahead
        self._drawing = Event()
        self._closed = Event()
        self._looked_at: list[str] = []
        self._thread: Thread | None = None

    def begin(self) -> None:
        """Look ahead from now on: a generation has its adapters, and is drawn."""
        self._looked_at = []
        self._drawing.set()
        if self._ahead and self._thread is None:
            self._thread = Thread(target=self._run, name="prefetch", daemon=True)
            self._thread.start()

    def rest(self) -> None:
        """Begin no more files; what is being fetched is finished."""
        self._drawing.clear()

    def close(self) -> None:
        """Stop for good."""
        self.rest()
        self._closed.set()
        self._drawing.set()  # so that it wakes to see it

    def look(self) -> None:
        """Load the adapters of the next generations into memory, the nearest first, as far as there is room."""
        try:
            ids = self._waiting()
            if ids == self._looked_at:
                return
            nearer: list[ResolvedAdapter] = []
            for use in self._coming(ids):
                if not self._drawing.is_set() or self._closed.is_set():
                    return
                self._bring(use, nearer)
                nearer.append(use)
        except RedisError as error:
            log.debug("prefetch_failed", error=str(error))
        else:
            self._looked_at = ids

    def _waiting(self) -> list[str]:
        ids: list[str] = []
        for queue in self._queues:
            if room := self._ahead - len(ids):
                ids += queue.get_job_ids(0, room)
        return ids

    def _coming(self, ids: list[str]) -> Iterator[ResolvedAdapter]:
        for generation_id in ids:
            try:
                generation = self._ledger.get(generation_id)
            except RadiataError:  # it ended, or storage is away
                continue
            if not generation.status.ended:
                yield from generation.request.adapters

    def _bring(self, use: ResolvedAdapter, nearer: list[ResolvedAdapter]) -> None:
        try:
            self._cache.prefetch(use, nearer)
        except (RadiataError, AdapterError) as error:
            self._cache.counters.add(prefetch_failures=1)
            log.debug("prefetch_failed", ref=use.ref, error=str(error))

    def _run(self) -> None:
        while True:
            self._drawing.wait()
            if self._closed.is_set():
                return
            try:
                self.look()
            except Exception:  # the end of a thread: without it the engine draws on, only slower
                log.exception("prefetch_error")
            self._closed.wait(LOOK_EVERY_S)
