"""Nothing accepted is lost: Redis is brought back in line with storage, every few seconds, by one of the workers.

Everything pending in storage is judged, whatever its queue is called. What nobody can be expected to draw
(`app/shared/prospects.py`) ends with a reason, after it was so for a minute: another machine may be restarting. A
queue's name only makes a suspect; its own record, read when the minute is over, decides.

Key `radiata:impossible`: hash, a suspect to the seconds for which looks in a row found it one; one look, of whichever
machine, that does not find it so takes it out, and a minute without any look, or the time of three, forgets them all.
Nothing in it is a time of the clock: a clock that is set, and a service that was stopped meanwhile, end nothing.
"""

import time
from contextlib import suppress
from math import isfinite
from typing import cast

from redis import Redis

from app.shared.errors import Unreadable
from app.shared.generations import Ledger
from app.shared.living import counted, heal
from app.shared.lost import Look, look, queues_of
from app.shared.preprocessing import digest
from app.shared.prospects import Impossible, Prospects
from app.shared.queue import base_of, generation_queue, model_of, needs_of
from app.shared.settings import Settings
from app.shared.storage import Storage

IMPOSSIBLE = "radiata:impossible"
GRACE_S = 60.0
FORGOTTEN_S = 60
ENDS: dict[Impossible, str] = {
    "base_changed": "model {!r} is another base than when this was accepted, and no worker has the old one any more: "
    "ask again, and the new one draws it",
    "other_preprocessor": "no worker of model {!r} has the models any more that its maps were to be made with: "
    "ask again, and those that are there make them",
    "model_removed": "no worker draws with model {!r} any more, and it is not in RADIATA_MODELS: ask for another model",
}


class Sweep:
    """Queues what is lost, ends what cannot go on."""

    def __init__(self, storage: Storage, redis: Redis, settings: Settings) -> None:
        self._storage = storage
        self._redis = redis
        self._settings = settings
        self._ledger = Ledger(storage, redis, settings)
        self._queues = self._ledger.queues

    def run(self) -> None:
        """Look once at everything that is pending, for no longer than until the next look is due."""
        until = time.monotonic() + self._settings.sweep_every_s
        places = counted(self._redis, "generations")
        seen = look(self._redis, queues_of(self._redis, self._settings))
        pending = set(self._ledger.records.waiting())
        self._end_impossible(pending, seen)
        self._ledger.bring_back(pending, seen, until)
        heal(self._redis, places, pending)

    def _suspects(self, pending: set[str], seen: Look, prospects: Prospects) -> dict[str, list[str]]:
        """What waits in queues that nobody can be expected to serve, and in which of them."""
        found: dict[str, list[str]] = {}
        for name, jobs in seen.waiting.items():
            of = model_of(name), base_of(name), needs_of(name)
            if jobs and name.startswith(generation_queue("")) and prospects.against(*of):
                for one in pending & set(jobs):
                    found.setdefault(one, []).append(name)
        return found

    def _end_impossible(self, pending: set[str], seen: Look) -> None:
        """End what nobody could draw for a minute, and clear away what stands in a queue that is not its own."""
        prospects = Prospects(self._storage, self._redis, self._settings)
        suspects = self._suspects(pending, seen, prospects)
        earlier = cast(dict[bytes, bytes], self._redis.hgetall(IMPOSSIBLE))
        known = {one.decode(errors="replace"): seconds for one, seconds in earlier.items()}
        # Looks come at least that far apart (`SWEEP_LOCK` of the workers): the sum is no more than what was watched
        watched = {
            one: _seconds(known[one]) + self._settings.sweep_every_s if one in known else 0.0 for one in suspects
        }
        if cleared := known.keys() - suspects.keys():
            self._redis.hdel(IMPOSSIBLE, *cleared)
        if watched:
            self._redis.hset(IMPOSSIBLE, mapping={one: str(seconds) for one, seconds in watched.items()})
            self._redis.expire(IMPOSSIBLE, max(FORGOTTEN_S, 3 * int(self._settings.sweep_every_s)))
        for one, seconds in watched.items():
            if seconds >= GRACE_S:
                try:
                    self._judge(one, suspects[one], prospects)
                except Unreadable as error:
                    self._ledger.pass_over(one, error)

    def _judge(self, generation_id: str, queues: list[str], prospects: Prospects) -> None:
        if accepted := self._ledger.accepted(generation_id):
            request = accepted.generation.request
            why = prospects.against(request.model, request.base, digest(request.preprocessors))
            if why is None:  # its own queue has it, or gets it with the next look
                for name in queues:
                    self._redis.lrem(self._queues.of(name).key, 0, generation_id)
                return
            self._ledger.fail(accepted.generation, why, ENDS[why].format(request.model))
        self._queues.drop(generation_id)


def _seconds(watched: bytes) -> float:
    """Seconds that Redis has, or none where it has anything else."""
    with suppress(ValueError):
        if isfinite(seconds := float(watched)):
            return seconds
    return 0.0
