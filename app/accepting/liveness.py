"""Which models somebody draws with now, or did a moment ago, with the base that acceptance pins.

A worker whose base is another than the one that is published draws nothing of what is accepted now, so it does not
count; one that does not say its base does.

This process remembers by a clock of its own whom it saw alive, so that a Redis that was emptied, or a clock that was
set, turns no request away; what it cannot have seen, because it was started since, the workers have written to Redis.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock

from pydantic import BaseModel
from redis import Redis
from redis.exceptions import RedisError

from app.shared.at_once import Errands, about_to_wait
from app.shared.errors import RadiataError, Unavailable
from app.shared.preprocessing import Models
from app.shared.profiles import Profiles
from app.shared.settings import BadSettings, Settings
from app.shared.wire.model import ModelProfile
from app.shared.worker_state import WorkerState, lately_alive, other_bases, worker_states
from app.shared.worker_state import unservable as told_unservable

Held = tuple[str, str]  # a model, and the fingerprint of its base; empty where a worker does not say it

LOOK_EVERY_S = 1.0
NOT_LOADED = "no worker has loaded it yet"
NO_WORKER = "no worker that draws with it lives"
ANOTHER_BASE = "the workers of it that live have another base than the one that is published"


class Readiness(BaseModel):
    """The parts that work; `ready`: a generation would be drawn now."""

    ready: bool
    queue: bool
    storage: bool
    models: list[str]  # that somebody draws with now
    not_ready: dict[str, str]  # the other ones, and why
    other_bases: dict[str, list[str]] = {}  # fingerprints of what workers have beside what is published
    index: float = 1.0  # how much of the index that lists are made from this process has, from 0 to 1


class Liveness:
    """Watches the workers of each model."""

    def __init__(
        self,
        redis: Redis,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        claim: Callable[[], None] = lambda: None,
    ) -> None:
        """claim: see that this Redis is our store's; raises BadSettings where it is not."""
        self._redis = redis
        self._settings = settings
        self._clock = clock
        self._claim = claim
        self._lock = Lock()
        self._last_alive: dict[Held, float] = {}  # to when a worker that holds it was last known to live
        self._looked: dict[Held, float] = {}
        self._living: list[WorkerState] = []  # as they were when somebody last looked
        self._errands = Errands()
        self._is_ours = True  # this Redis, when it was last looked at

    def require(self, profile: ModelProfile) -> None:
        """Raise Unavailable where nobody has drawn with that base for so long that work should not be taken for it.

        So does a Redis that another store's service uses: its workers would draw nothing of ours.
        """
        patience = self._settings.accept_without_worker_s
        held = (profile.name, profile.fingerprint)
        if patience < 0:
            return
        if self._is_ours:  # another store's has workers too, and what is known of them says nothing of our work
            if self._is_fresh(held, LOOK_EVERY_S):
                return
            if self._is_fresh(held, max(patience, LOOK_EVERY_S)) and self._errands.under_way(str(held)):
                return
        about_to_wait()
        try:
            self._look(held)
        except RedisError:
            return  # whoever queues it says so
        if not self._is_fresh(held, max(patience, LOOK_EVERY_S)):
            raise Unavailable(
                "no_worker",
                f"no worker that draws with model {profile.name!r}, base {profile.fingerprint[:16]}, lives, nor did "
                f"within the last {patience:g} seconds: start one with `radiata worker {profile.name}`",
            )

    def makers(self, profile: ModelProfile) -> Sequence[Models]:
        """What makes maps for that base: of each living worker; where none is known, what is published and named."""
        if not self._is_fresh(held := (profile.name, profile.fingerprint), LOOK_EVERY_S):
            about_to_wait()
            with suppress(RedisError):  # whoever queues it says so
                self._look(held)
        living = [one.preprocessors for one in self._living if (one.model, one.base) == held]
        return living or [dict.fromkeys(self._settings.preprocessors, ()) | profile.preprocessors]

    def _look(self, held: Held) -> None:
        """Look who lives, unless that was done a moment ago; raises RedisError."""
        with self._lock:
            if not self._is_ours or self._clock() - self._looked.get(held, float("-inf")) >= LOOK_EVERY_S:
                self._looked[held] = self._clock()
                self._claimed()
                self._workers()
                if held not in self._last_alive and lately_alive(self._redis, *held):
                    self._last_alive[held] = self._clock()

    def readiness(self, loaded: Sequence[ModelProfile] | None) -> Readiness:
        """Look at the queue and each model's workers.

        loaded: the profiles that can be read; None where storage is away. A worker is heard of only after it has
        published its model and given the adapters that came with it their names.
        """
        unservable: dict[str, str] = {}
        try:
            workers, queue = self._workers(), True
            unservable = told_unservable(self._redis, list(self._settings.models))
        except RedisError:
            workers, queue = [], False
        published = {profile.name: profile.fingerprint for profile in loaded or ()}
        bases = {model: {one.base for one in workers if one.model == model} for model in self._settings.models}
        not_ready = {model: why for model, has in bases.items() if (why := _why_not(published.get(model), has))}
        models = [model for model in self._settings.models if model not in not_ready]
        not_ready |= {
            model: f"it could not be loaded: {unservable[model]}" for model in not_ready if model in unservable
        }
        return Readiness(
            ready=bool(queue and models),
            queue=queue,
            storage=loaded is not None,
            models=models,
            not_ready=not_ready,
            other_bases=other_bases(workers, published),
        )

    def _claimed(self) -> None:
        try:
            self._claim()  # not only at the start: then Redis may have been away
            self._is_ours = True
        except BadSettings as error:
            self._is_ours = False  # every request looks again, and is told the same, until it is ours
            raise Unavailable("another_store", str(error)) from error
        except RadiataError:
            return  # storage is away: whoever reads it says so

    def _workers(self) -> list[WorkerState]:
        workers = worker_states(self._redis)
        self._last_alive |= {(one.model, one.base): self._clock() for one in workers}
        self._living = workers
        return workers

    def _is_fresh(self, held: Held, seconds: float) -> bool:
        model, base = held
        last = max(self._last_alive.get((model, one), float("-inf")) for one in (base, ""))
        return self._clock() - last <= seconds


def loaded_or_away(profiles: Profiles) -> list[ModelProfile] | None:
    """The profiles that can be read; None where storage is away."""
    try:
        return profiles.ready()
    except RadiataError:
        return None


def _why_not(published: str | None, bases: set[str]) -> str | None:
    """Why nobody draws with a model of which `published` is offered, and workers have these bases."""
    if published is None:
        return NOT_LOADED
    if bases & {published, ""}:
        return None
    return ANOTHER_BASE if bases else NO_WORKER
