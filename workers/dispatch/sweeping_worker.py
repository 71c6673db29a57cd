"""A worker that finds lost work within seconds; the workers that draw, inspect and train are made of it."""

import contextlib
import os
import sys
import time
from typing import Any
from uuid import uuid4

import structlog
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq import Queue, worker_registration
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.timeouts import BaseDeathPenalty

from app.shared.connection import AWAY, run_short_of_patience
from app.shared.errors import RadiataError
from app.shared.identity import claim, claim_at_start
from app.shared.job import SERIALIZER, KnownQueue
from app.shared.kinds import ALWAYS, OF_QUEUE, mend, release
from app.shared.lost import queues_of
from app.shared.metrics import count
from app.shared.settings import WRONG_SETTINGS, BadSettings, Settings
from app.shared.storage import Storage
from app.shared.sweep import Sweep
from app.shared.trainings import Trainings
from app.shared.uploads import Uploads
from app.shared.watch import Watch
from workers.dispatch.known_worker import KnownWorker

log = structlog.get_logger()

SWEEP_LOCK = "radiata:sweep"  # string; held by the worker that sweeps, for one interval
HEARTBEAT_S = 2
LOOK_S = 0.02  # between two looks at a fork that inspects
KILL_AFTER_S = 60  # beyond the job's time: its own alarm has not ended it
RQ_DEQUEUE_SLACK_S = 15  # RQ waits `worker_ttl - 15` seconds for a job before it looks around


class NoAlarm(BaseDeathPenalty):
    """No time limit: a worker waits for its work horse with heartbeats of its own."""

    def setup_death_penalty(self) -> None:
        """Set no alarm."""

    def cancel_death_penalty(self) -> None:
        """Nothing was set."""


class SweepingWorker(KnownWorker):
    """A worker that notices dead workers and lost work within seconds, whenever it has nothing to do.

    RQ's own maintenance runs every ten minutes under a lock of fifteen, and its heartbeats outlive a worker by more
    than a minute: too slow for somebody who waits for a picture.
    """

    death_penalty_class = NoAlarm

    def __init__(self, settings: Settings, queues: list[Queue], name: str, connection: Redis) -> None:
        super().__init__(
            settings,
            queues,
            name,
            connection,
            job_monitoring_interval=HEARTBEAT_S,
            maintenance_interval=settings.sweep_every_s,
            worker_ttl=settings.sweep_every_s + RQ_DEQUEUE_SLACK_S,
        )
        self._looked: float | None = None
        self._reported = set[str]()
        self._tries = Watch[tuple[str, str]](settings.sweep_every_s)
        self._lock = Watch[str](settings.sweep_every_s)

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Tell Redis that it lives; Redis may have been emptied, or may have taken it for dead."""
        super().heartbeat(timeout, pipeline)
        if self.birth_date and not self.is_horse:
            connection = self.connection if pipeline is None else pipeline
            connection.hset(self.key, mapping=self.serialize())
            worker_registration.register(self, pipeline)

    def subscribe(self) -> None:
        """Follow no commands from Redis: RQ would let anybody who reaches Redis shut down any worker by its name."""

    def register_death(self) -> None:
        """Tell Redis that it has ended, if Redis is there: without heartbeats it counts as dead soon anyway."""
        run_short_of_patience(self.connection)
        with contextlib.suppress(RedisError):
            super().register_death()

    # RQ goes by the system's clock and interrupts itself by alarms; below it waits, by a clock that nobody sets

    def monitor_work_horse(self, job: Job, queue: Queue, execution: Execution) -> None:
        """Wait while a job is done, and see to what is left when its work horse dies (RQ's seam)."""
        self._watched = job, execution
        super().monitor_work_horse(job, queue, execution)

    def wait_for_horse(self) -> tuple[int | None, int | None, Any]:
        """Wait until the work horse has done its job or died, with heartbeats; one that does not end is killed."""
        job, execution = self._watched
        most_s = (job.timeout or 0) + self._settings.storage_patience_s + KILL_AFTER_S
        begun = time.monotonic()
        while (ended := self.horse_ended(HEARTBEAT_S)) is None:
            if time.monotonic() - begun > most_s:
                self.kill_horse()
            asked = time.monotonic()
            try:
                self.maintain_heartbeats(job, execution)
            except RedisError as error:  # the horse goes on, and so does its worker
                log.warning("heartbeat_failed", error=str(error))
            begun += time.monotonic() - asked  # a Redis that is away keeps the horse waiting, too
        return ended

    def horse_ended(self, seconds: float) -> tuple[int, int, Any] | None:
        """Wait for the work horse; its process id and how it ended, or None when that many seconds have passed."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                pid, status, usage = os.wait4(self.horse_pid, os.WNOHANG)
            except ChildProcessError:  # it was waited for
                return self.horse_pid, os.EX_OK, None
            if pid:
                return pid, status, usage
            time.sleep(LOOK_S)
        return None

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """Whether it is time to look for lost work."""
        return self._looked is None or time.monotonic() - self._looked >= self._settings.sweep_every_s

    def run_maintenance_tasks(self) -> None:
        """Give back what dead workers held, and bring Redis in line with storage; one worker at a time.

        Ends this process where Redis is another store's by now. Anything else that goes wrong is logged once and tried
        again: no worker is to end for what somebody wrote into Redis.
        """
        self._looked = time.monotonic()
        try:
            self._maintain()
        except BadSettings as error:  # RQ would print a traceback, and end as if all were well
            print(f"settings: {error}", file=sys.stderr, flush=True)
            raise SystemExit(WRONG_SETTINGS) from error
        except (*AWAY, StopRequested):
            raise  # RQ waits, or ends
        except Exception as error:
            if (fault := repr(error)) not in self._reported:
                self._reported.add(fault)
                log.exception("sweep_failed")

    def _maintain(self) -> None:
        count(self.connection, {})  # what was tallied
        mend(self.connection, ALWAYS)
        release(self.connection)
        names = queues_of(self.connection, self._settings)
        mend(self.connection, OF_QUEUE, *names)
        queues = [KnownQueue(name, connection=self.connection, serializer=SERIALIZER) for name in names]
        tries = {(queue.name, one): beat for queue in queues for one, beat in queue.tries().items()}
        dead = self._tries.silent(tries, self._settings.lost_after_s)
        if not self._may_sweep():
            return
        for queue in queues:
            queue.clean([one for name, one in dead if name == queue.name])
            worker_registration.clean_worker_registry(queue)
        self.sweep()

    def _may_sweep(self) -> bool:
        """Whether no other worker sweeps or has just done so."""
        every, mine = self._settings.sweep_every_s, uuid4().hex
        if self.connection.set(SWEEP_LOCK, mine, nx=True, ex=every):
            return True
        holder = self.connection.get(SWEEP_LOCK)
        if self._lock.silent({SWEEP_LOCK: holder}, 2 * every):  # the clock was set back: it would stay until then
            self.connection.delete(SWEEP_LOCK)
        return False

    def claim(self) -> None:
        """Take Redis for this store, unless one of the two is away; raises BadSettings where it is another's."""
        claim_at_start(self._settings, self.connection)

    def sweep(self) -> None:
        """Queue again what is accepted and lost, end what cannot go on; raises BadSettings as `claim` does."""
        try:
            storage = Storage(self._settings.store_url)
            claim(storage, self.connection)  # somebody may have emptied Redis
            Sweep(storage, self.connection, self._settings).run()
            Uploads(storage, self.connection, self._settings).sweep()
            Trainings(storage, self.connection, self._settings).sweep()
        except RadiataError as error:  # storage is away; it is looked for again in a moment
            log.warning("sweep_failed", error=error.message)
        count(self.connection, {})  # here too: it may be a fork that ends
