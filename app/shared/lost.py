"""What nobody will do: jobs that storage knows of, and RQ has in no queue and on no worker.

RQ's lists are read whole, in a few commands however much waits, and compared here: a job is looked at by itself only
where it is in none of them, one by one and for as long as there is time. After Redis was emptied that is every one.

| Redis key | type | what | kept for |
|---|---|---|---|
| `radiata:missed:<kind>` | hash | a job in no queue and on no worker to when that was seen first | each look anew |
"""

import math
import time
from collections.abc import Collection, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from redis import Redis
from redis.exceptions import ResponseError
from rq import Queue
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job, JobStatus
from rq.registry import StartedJobRegistry

from app.shared.job import is_newer
from app.shared.queue import INTAKE, Queues, generation_queue, generation_queues, training_queue
from app.shared.settings import Settings

MISSED = "radiata:missed:"
CHUNK = 1000
_QUEUE, _JOB = Queue.redis_queue_namespace_prefix, Job.redis_job_namespace_prefix


def queues_of(redis: Redis, settings: Settings) -> list[str]:
    """Names of all queues of this service, those of models included that are no longer in the settings."""
    ours = (generation_queue(""), training_queue(""))
    known = [
        key.decode(errors="replace").removeprefix(_QUEUE)
        for key in cast(set[bytes], redis.smembers(Queue.redis_queues_keys))
    ]
    configured = [name for model in settings.models for name in (*generation_queues(model), training_queue(model))]
    return sorted({*configured, INTAKE, *(name for name in known if name.startswith(ours))})


@dataclass(frozen=True)
class Look:
    """What waited in each queue, and what workers had, a moment ago; `broken` waits, and RQ's record of it is gone."""

    waiting: dict[str, list[str]]
    started: set[str]
    broken: dict[str, str]  # to its queue


def look(redis: Redis, names: Collection[str]) -> Look:
    """Read the lists of these queues."""
    with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.lrange(_QUEUE + name, 0, -1)
        for name in names:  # after the lists: what went from one to the other meanwhile is seen in the second
            pipe.zrange(StartedJobRegistry.key_template.format(name), 0, -1)
        answers = pipe.execute()
    waiting = {name: [job.decode(errors="replace") for job in jobs] for name, jobs in zip(names, answers, strict=False)}
    started = {one.decode(errors="replace").partition(":")[0] for tries in answers[len(names) :] for one in tries}
    return Look(waiting, started, dict(_broken(redis, waiting)))


def _broken(redis: Redis, waiting: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    for name, jobs in waiting.items():
        for at in range(0, len(jobs), CHUNK):
            some = jobs[at : at + CHUNK]
            if redis.exists(*(_JOB + job for job in some)) != len(some):
                yield from ((job, name) for job in some if not redis.exists(_JOB + job))


class Lost:
    """Finds those of one kind of jobs that nobody will do."""

    def __init__(self, redis: Redis, queues: Queues, settings: Settings, kind: str) -> None:
        self._redis = redis
        self._queues = queues
        self._settings = settings
        self._missed = MISSED + kind

    def among(self, jobs: Collection[str], seen: Look) -> Generator[tuple[str, JobStatus | None]]:
        """Those of `jobs` that are lost, with their status, or None where RQ does not know them, one by one.

        Each is looked at when it is asked for: whoever has no more time ends it, and the next look goes on.
        """
        cared_for = {job for queue in seen.waiting.values() for job in queue} | seen.started
        cared_for.difference_update(seen.broken)
        missed = sorted(set(jobs) - cared_for)
        earlier = self._earlier() if missed else {}
        since = {job_id: earlier[job_id] for job_id in missed if job_id in earlier}
        try:
            for job_id in missed:
                job = self._queues.job(job_id)
                if job is None and is_newer(self._redis, job_id):
                    continue  # a worker that can read it sees to it
                status = job.get_status(refresh=False) if job else None
                first = since.setdefault(job_id, time.time())
                # However the clock was set meanwhile: one step back must not keep it so for an hour
                if job and abs(time.time() - first) < self._patience(status):
                    continue
                del since[job_id]
                if job:
                    self._redis.lrem(IntermediateQueue.get_intermediate_queue_key(_QUEUE + job.origin), 0, job_id)
                if queue := seen.broken.get(job_id):
                    self._redis.lrem(_QUEUE + queue, 0, job_id)
                yield job_id, status
        finally:
            with self._redis.pipeline() as pipe:
                pipe.delete(self._missed)
                if since:
                    pipe.hset(self._missed, mapping={job_id: str(first) for job_id, first in since.items()})
                pipe.execute()

    def _earlier(self) -> dict[str, float]:
        """When each was missed first; what cannot be read never was."""
        try:
            kept = cast(dict[bytes, bytes], self._redis.hgetall(self._missed))
        except ResponseError:  # something else stands there
            return {}
        times: dict[str, float] = {}
        for one, text in kept.items():
            with suppress(ValueError):
                if math.isfinite(seconds := float(text)):
                    times[one.decode(errors="replace")] = seconds
        return times

    def _patience(self, status: JobStatus | None) -> float:
        """Seconds for which a job may be in no list."""
        if status is JobStatus.QUEUED:  # between queue and worker, or for ever if that worker died
            return self._settings.sweep_every_s / 2
        if status is JobStatus.STARTED:  # between two lists too, or Redis lost the list of what workers have
            return self._settings.lost_after_s
        return 0.0
