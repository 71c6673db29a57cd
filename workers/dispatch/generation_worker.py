"""The RQ worker that draws: its work horse is an engine process, which holds a model and lives on from job to job."""

import contextlib
import math
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import structlog
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq import Queue
from rq.executions import Execution
from rq.job import Job

from app.shared.preprocessing import served
from app.shared.queue import model_of
from app.shared.worker_state import WorkerState, publish, withdraw
from workers.dispatch.affinity import AffinityQueue, EngineState, affinity_queues
from workers.dispatch.engine_client import EngineProcess
from workers.dispatch.sweeping_worker import SweepingWorker

log = structlog.get_logger()


class GenerationWorker(SweepingWorker):
    """Hands job after job to one engine process; when that dies, the job is tried on a new one.

    Of the jobs that wait it takes one that suits the state of its engine, where its queues are `affinity_queues`.
    """

    queue_class = AffinityQueue
    _engine: EngineProcess | None = None
    _active_since: datetime | None = None
    _leaves_at = math.inf  # by the monotonic clock; from then on the engine puts back what it draws
    _told_to_leave: EngineProcess | None = None
    base = ""  # fingerprint of the base that its engine has loaded
    device = ""  # on which
    preprocessors: Mapping[str, list[str]] = MappingProxyType({})  # what it makes maps with
    base_changed = False  # while it ran: it has stopped, and must be started again

    def start_engine(self) -> bool:
        """Start the engine and wait until it has loaded its model; False when it died instead."""
        self._engine = EngineProcess(model_of(self.queues[0].name), self.name)
        with contextlib.suppress(BrokenPipeError):
            self._engine.greet()
        return bool(self._engine.wait()) and self._receive_state()

    def engine_status(self) -> int:
        """Exit status of the engine that did not start."""
        assert self._engine is not None
        return os.waitstatus_to_exitcode(self._engine.status())

    def stop_engine(self) -> None:
        """End the engine."""
        if self._engine:
            self._engine.close()

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Hand the job to the engine, starting a new one if need be (RQ's seam for starting a work horse)."""
        execution = self.execution
        assert execution is not None
        self._hand_over(job, execution)

    def _hand_over(self, job: Job, execution: Execution) -> None:
        if self._engine is None or not self._engine.alive:
            self.stop_engine()
            self._engine = EngineProcess(model_of(job.origin), self.name)
            self._set_engine_state({})
        self._horse_pid = self._engine.pid
        with contextlib.suppress(BrokenPipeError):  # it died just now, as waiting for it will show
            self._engine.order(job, execution, job.origin)

    def handle_warm_shutdown_request(self) -> None:
        """Give the generation that is drawn `drain_s` seconds to end; what begins after it is another worker's."""
        super().handle_warm_shutdown_request()
        self._leaves_at = time.monotonic() + self._settings.drain_s

    def horse_ended(self, seconds: float) -> tuple[int, int, Any] | None:
        """Wait until the engine has done the job or died; None when that many seconds have passed.

        One that was told to end, and did before it read the order, did not die: a new one is given it.
        """
        assert self._engine is not None
        if time.monotonic() >= self._leaves_at and self._told_to_leave is not self._engine:
            self._told_to_leave = self._engine
            self._engine.leave()
        done = self._engine.wait(seconds)
        if done is False and self._engine.status() == os.EX_OK:
            self._hand_over(*self._watched)
            return None
        return None if done is None else (self._engine.pid, os.EX_OK if done else self._engine.status(), None)

    def monitor_work_horse(self, job: Job, queue: Queue, execution: Execution) -> None:
        """Wait for the engine as RQ does; then take over its state, or log that it died."""
        super().monitor_work_horse(job, queue, execution)
        if self._engine and not self._receive_state():
            log.warning("engine_died", job=job.id, pid=self._engine.pid)

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Tell Redis that it lives, and its state."""
        super().heartbeat(timeout, pipeline)
        self._publish_state(pipeline)

    def set_state(self, state: str, pipeline: Pipeline | None = None) -> None:
        """Tell Redis what it does."""
        super().set_state(state, pipeline)
        self._publish_state(pipeline)

    def register_death(self) -> None:
        """Tell Redis that it has ended."""
        super().register_death()
        with contextlib.suppress(RedisError):
            withdraw(self.connection, self.name)

    @property
    def _engine_state(self) -> EngineState:
        assert isinstance(self.queues[0], AffinityQueue)
        return self.queues[0].engine_state

    def _receive_state(self) -> bool:
        """Read the engine's reply and take over its state; False when it died instead, and has none."""
        assert self._engine is not None
        reply = self._engine.reply()
        loaded = reply if reply and reply.get("base") else None  # one that left before it had loaded has no base
        if loaded and loaded["base"] != self.base:
            self._set_base(loaded["base"])
            self.device = loaded.get("device", "")
        if loaded and loaded.get("preprocessors", {}) != self.preprocessors:
            self.preprocessors = loaded["preprocessors"]
            self._take_from()
        self._set_engine_state(reply or {})
        return reply is not None

    def _set_base(self, base: str) -> None:
        """Take jobs of this base from now on; where another was loaded before, stop, to be started again."""
        if self.base:
            log.warning("base_changed", model=model_of(self.queues[0].name), before=self.base, now=base)
            self.base_changed = self._stop_requested = True
            return
        self.base = base
        self._take_from()

    def _take_from(self) -> None:
        """Take from the queues of its base, and of what the maps are made with that it has models for."""
        model = model_of(self.queues[0].name)
        needs = served(self.preprocessors)
        self.queues = affinity_queues(model, self.connection, self._settings, self.base, needs)
        self._ordered_queues = self.queues[:]

    def _set_engine_state(self, reply: dict[str, Any]) -> None:
        active, engine_state = frozenset(reply.get("active", ())), self._engine_state
        if active != engine_state.active or self._active_since is None:
            self._active_since = datetime.now(UTC)
        engine_state.active, engine_state.resident = active, frozenset(reply.get("resident", ()))

    def _publish_state(self, pipeline: Pipeline | None) -> None:
        if self._engine and not self._engine.alive:  # it died, perhaps while it had nothing to do
            self._set_engine_state({})
        state = WorkerState(
            name=self.name,
            model=model_of(self.queues[0].name),
            base=self.base,
            preprocessors=dict(self.preprocessors),
            host=self.hostname or "",
            state=self.get_state(),  # type: ignore[arg-type]  # RQ's enumeration of the same words
            active=sorted(self._engine_state.active),
            resident=sorted(self._engine_state.resident),
            since=self._active_since or datetime.now(UTC),
        )
        keep_s = self._settings.lost_after_s + self._settings.sweep_every_s
        remember_s = self._settings.accept_without_worker_s
        publish(self.connection if pipeline is None else pipeline, state, keep_s, remember_s)
