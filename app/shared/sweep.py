"""Nothing accepted is lost: Redis is brought back in line with storage, every few seconds, by one of the workers.

Everything pending in storage is judged, whatever its queue is called. What no worker lives for, and no configured model
is, ends with a reason, a minute after that was seen first: another machine may have another model, and be restarting.

Key `radiata:impossible`: hash, a generation that nobody here can draw to when that was seen first; each look anew.
"""

import time
from collections.abc import Collection
from typing import cast

from redis import Redis
from rq.job import JobStatus

from app.shared.errors import Unreadable
from app.shared.holdings import holdings
from app.shared.ledger import Ledger
from app.shared.lost import Look, Lost, look, queues_of
from app.shared.profiles import Profiles
from app.shared.queue import BASE_DIGITS, INTAKE, base_of, model_of
from app.shared.records import tell
from app.shared.schema import Accepted
from app.shared.settings import Settings
from app.shared.storage import Storage

IMPOSSIBLE = "radiata:impossible"
GRACE_S = 60.0
DEAD = (JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED)


class Sweep:
    """Queues what is lost, ends what cannot go on."""

    def __init__(self, storage: Storage, redis: Redis, settings: Settings) -> None:
        self._storage = storage
        self._redis = redis
        self._settings = settings
        self._ledger = Ledger(storage, redis, settings)
        self._queues = self._ledger.queues
        self._lost = Lost(redis, self._queues, settings, "generations")

    def run(self) -> None:
        """Look once at everything that is pending, for no longer than until the next look is due."""
        until = time.monotonic() + self._settings.sweep_every_s
        seen = look(self._redis, queues_of(self._redis, self._settings))
        pending = {key.removeprefix("pending/").removesuffix(".json") for key in self._storage.keys("pending")}
        self._end_impossible(pending, seen)
        for generation_id, status in self._lost.among(pending, seen):
            try:
                self._bring_back(generation_id, status)
            except Unreadable as error:  # nobody can make work of it; the others must not wait for that
                tell(self._redis, error)
                self._queues.drop(generation_id)
            if time.monotonic() > until:
                break

    def _bring_back(self, generation_id: str, status: JobStatus | None) -> None:
        if self._ledger.close_again(generation_id):
            self._queues.drop(generation_id)
            return
        accepted = self._ledger.accepted(generation_id)
        if accepted is None:
            return  # ended between two looks
        if status in DEAD:
            self._ledger.fail(
                accepted.generation,
                "worker_died",
                f"the engine or its worker died on each of {self._settings.retries + 1} tries; see the worker's log",
            )
            return
        self._queues.drop(generation_id)
        self._ledger.queue(accepted)

    def _impossible(self, seen: Look) -> set[str]:
        """Queues that nobody serves: of no configured model, or of a base that no worker has and nobody is offered."""
        names = {name for name, jobs in seen.waiting.items() if jobs and name != INTAKE}
        foreign = {name for name in names if model_of(name) not in self._settings.models}
        based = {name for name in names - foreign if base_of(name)}
        if not foreign | based:
            return set()
        workers = holdings(self._redis)
        served = {worker.model for worker in workers}
        living = {(worker.model, worker.base[:BASE_DIGITS]) for worker in workers}
        alone = {name for name in based if (model_of(name), base_of(name)) not in living}
        if alone:
            ready = Profiles(self._storage, self._settings).ready()
            offered = {(profile.name, profile.fingerprint[:BASE_DIGITS]) for profile in ready}
            alone = {name for name in alone if (model_of(name), base_of(name)) not in offered}
        return alone | {name for name in foreign if model_of(name) not in served}

    def _end_impossible(self, pending: Collection[str], seen: Look) -> None:
        """End what has waited for a minute in queues that nobody serves."""
        waiting = [one for name in self._impossible(seen) for one in seen.waiting[name] if one in pending]
        earlier = cast(dict[bytes, bytes], self._redis.hgetall(IMPOSSIBLE)) if waiting else {}
        first_seen = {one: float(earlier.get(one.encode(), time.time())) for one in waiting}
        with self._redis.pipeline() as pipe:
            pipe.delete(IMPOSSIBLE)
            if first_seen:
                pipe.hset(IMPOSSIBLE, mapping={one: str(since) for one, since in first_seen.items()})
            pipe.execute()
        for one, since in first_seen.items():
            if abs(time.time() - since) >= GRACE_S:
                try:
                    if accepted := self._ledger.accepted(one):
                        self._end(accepted)
                except Unreadable as error:
                    tell(self._redis, error)
                self._queues.drop(one)

    def _end(self, accepted: Accepted) -> None:
        model = accepted.generation.request.model
        if model in self._settings.models:
            self._ledger.fail(
                accepted.generation,
                "base_changed",
                f"model {model!r} is another base than when this was accepted, and no worker has the old one any more: "
                "ask again, and the new one draws it",
            )
            return
        self._ledger.fail(
            accepted.generation,
            "model_removed",
            f"no worker draws with model {model!r} any more, and it is not in RADIATA_MODELS: ask for another model",
        )
