"""Which models somebody draws with now, or did a moment ago.

This process remembers by a clock of its own whom it saw alive, so that a Redis that was emptied, or a clock that was
set, turns no request away; what it cannot have seen, because it was started since, the workers have written to Redis.
"""

import time
from collections.abc import Callable
from threading import Lock

from pydantic import BaseModel
from redis import Redis
from redis.exceptions import RedisError

from app.shared.errors import RadiataError, Unavailable
from app.shared.holdings import holdings, lately_alive
from app.shared.profiles import Profiles
from app.shared.settings import Settings

LOOK_EVERY_S = 1.0
NOT_LOADED = "no worker has loaded it yet"
NO_WORKER = "no worker that draws with it lives"


class Readiness(BaseModel):
    """What works; `ready` is whether a generation would be drawn now."""

    ready: bool
    queue: bool
    storage: bool
    models: list[str]  # that somebody draws with now
    not_ready: dict[str, str]  # the other ones, and why


class Liveness:
    """Watches the workers of each model."""

    def __init__(self, redis: Redis, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._settings = settings
        self._clock = clock
        self._lock = Lock()
        self._seen: dict[str, float] = {}  # model to when a worker of it was last known to live
        self._looked = float("-inf")

    def served(self) -> set[str]:
        """Models that living workers draw with; raises RedisError."""
        served = {worker.model for worker in holdings(self._redis)}
        self._remember(served)
        return served

    def require(self, model: str) -> None:
        """Raise Unavailable where nobody has drawn with a model for so long that work should not be taken for it."""
        patience = self._settings.accept_without_worker_s
        if patience < 0 or self._is_fresh(model, LOOK_EVERY_S):
            return
        with self._lock:
            if self._clock() - self._looked >= LOOK_EVERY_S:
                self._looked = self._clock()
                try:
                    self.served()
                    self._remember(lately_alive(self._redis, self._settings.models), only_new=True)
                except RedisError:
                    return  # whoever queues it says so
        if not self._is_fresh(model, max(patience, LOOK_EVERY_S)):
            raise Unavailable(
                "no_worker",
                f"no worker that draws with model {model!r} lives, nor did within the last {patience:g} seconds: start "
                f"one with `radiata worker {model}`",
            )

    def _is_fresh(self, model: str, seconds: float) -> bool:
        return self._clock() - self._seen.get(model, float("-inf")) <= seconds

    def _remember(self, models: set[str], *, only_new: bool = False) -> None:
        for model in models:
            if not only_new or model not in self._seen:
                self._seen[model] = self._clock()

    def readiness(self, profiles: Profiles) -> Readiness:
        """Look at queue, storage, and each model's worker.

        A worker is heard of only after it has published its model and given the adapters that came with it their names.
        """
        try:
            served, queue = self.served(), True
        except RedisError:
            served, queue = set[str](), False
        try:
            loaded, storage = {profile.name for profile in profiles.ready()}, True
        except RadiataError:
            loaded, storage = set[str](), False
        not_ready = {
            model: NOT_LOADED if model not in loaded else NO_WORKER
            for model in self._settings.models
            if model not in loaded or model not in served
        }
        models = [model for model in self._settings.models if model not in not_ready]
        return Readiness(
            ready=bool(queue and storage and models), queue=queue, storage=storage, models=models, not_ready=not_ready
        )
