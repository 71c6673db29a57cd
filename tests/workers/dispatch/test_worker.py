"""The seams between RQ's worker, the engine process and object storage's threads."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis import Redis
from rq import Queue
from rq.worker import WorkerStatus

from app.shared.generations import Ledger
from app.shared.job import INTAKE, SERIALIZER, KnownQueue
from app.shared.queue import Queues, generation_queue
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.sweep import Sweep
from app.shared.wire.generation import Status
from app.shared.worker_state import worker_states
from tests.app.shared.making import MODEL, request
from tests.workers.dispatch.processes import worker_process
from workers import tasks
from workers.dispatch.affinity import AffinityQueue, affinity_queues
from workers.dispatch.engine_client import EngineProcess
from workers.dispatch.generation_worker import GenerationWorker
from workers.dispatch.intake_worker import IntakeWorker
from workers.dispatch.performing import perform
from workers.dispatch.sweeping_worker import SWEEP_LOCK, SweepingWorker
from workers.drawing.engine import NOT_PRISTINE

QUEUE = generation_queue(MODEL)


class Engine:
    """An engine that the test plays, and its parent's handle."""

    def __init__(self) -> None:
        self.given, orders = os.pipe()
        replies, self.answers = os.pipe()
        self.handle = EngineProcess.__new__(EngineProcess)
        self.handle._orders = os.fdopen(orders, "w")
        self.handle._replies = replies
        self.handle._process = cast(subprocess.Popen[bytes], self)
        self.ended: int | None = None
        self.pid = 1

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.handle._orders.close()
        os.close(self.handle._replies)
        os.close(self.given)

    def poll(self) -> int | None:
        return self.ended

    def answer(self, **holds: list[str]) -> None:
        order = json.loads(os.read(self.given, 4096))
        os.write(self.answers, json.dumps({"done": order.get("job"), **holds}).encode() + b"\n")


def test_an_answer_is_for_one_order_and_nobody_waits_for_the_dead() -> None:
    with Engine() as engine:
        for _ in range(2):
            engine.handle._send({})
            engine.answer()
            assert engine.handle.wait() and engine.handle.wait()
            assert engine.handle.reply()
        engine.handle._send({})
        os.close(engine.answers)
        assert not engine.handle.wait()
        assert engine.handle.reply() is None


def test_an_answer_longer_than_a_pipe_holds_is_heard_whole() -> None:
    many = [f"{number:064x}" for number in range(4096)]
    with Engine() as engine:
        engine.handle._send({})
        thread = threading.Thread(target=engine.answer, kwargs={"resident": many})
        thread.start()
        assert engine.handle.wait()
        assert engine.handle.reply() == {"done": None, "resident": many}
        thread.join()
        os.close(engine.answers)


def canceled_on_its_way(redis: Redis, settings: Settings) -> Queue:
    """The queue out of which a worker took a job just before it was dropped."""
    queues = Queues(redis, settings)
    queues.enqueue_generation(MODEL, "0" * 32)
    taken = AffinityQueue.dequeue_any(affinity_queues(MODEL, redis, settings), None, redis, serializer=SERIALIZER)
    assert taken is not None
    queues.drop("0" * 32)
    assert taken[1].intermediate_queue.get_job_ids() == ["0" * 32]
    return taken[1]


def test_a_job_that_was_canceled_on_its_way_leaves_the_engine_alive(redis: Redis, settings: Settings) -> None:
    queue = canceled_on_its_way(redis, settings)
    perform("0" * 32, "1" * 32, KnownQueue(QUEUE, connection=redis, serializer=SERIALIZER), "worker", redis, settings)
    assert queue.intermediate_queue.get_job_ids() == []


def test_a_job_that_redis_forgot_while_it_was_done_leaves_nothing_behind(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Queues(redis, settings).enqueue_generation(MODEL, "0" * 32)
    monkeypatch.setattr(tasks, "generate", lambda _: redis.flushall())
    perform("0" * 32, "1" * 32, KnownQueue(QUEUE, connection=redis, serializer=SERIALIZER), "worker", redis, settings)
    assert "Traceback" not in caplog.text
    left = [key for key in redis.keys("rq:*") if b"worker" not in key]  # type: ignore[union-attr]
    assert left == [], left


@pytest.fixture
def worker(redis: Redis, settings: Settings) -> GenerationWorker:
    return GenerationWorker(settings, affinity_queues(MODEL, redis, settings), "worker", redis)


def test_a_worker_says_what_it_holds_as_long_as_it_lives(worker: GenerationWorker, redis: Redis) -> None:
    with Engine() as engine:
        worker._engine = engine.handle
        worker.register_birth()
        for active, resident in (([], []), (["a"], ["a", "b"]), (["a"], ["a"])):
            engine.handle._send({})
            engine.answer(active=active, resident=resident)
            assert engine.handle.wait() and worker._receive_state()
            worker.set_state(WorkerStatus.IDLE)
            (state,) = worker_states(redis)
            assert (state.name, state.model, state.state) == ("worker", MODEL, "idle")
            assert (state.active, state.resident) == (active, resident)
            assert worker.queues[0].engine_state.active == frozenset(active)  # type: ignore[attr-defined]
        since = state.since
        worker.heartbeat()
        assert [one.since for one in worker_states(redis)] == [since]
        assert 0 < redis.ttl("radiata:worker:worker") <= 60  # type: ignore[operator]
        worker.base = "b" * 64
        engine.handle._send({})
        engine.answer()
        assert engine.handle.wait() and worker._receive_state()
        assert worker.base == "b" * 64 and not worker.base_changed, "one that left before it had loaded has none"
        os.close(engine.answers)
        assert not worker._receive_state()
        worker.heartbeat()
        assert worker_states(redis)[0].resident == []
        worker.register_death()
        assert worker_states(redis) == [] and not redis.exists("radiata:worker:worker")


@pytest.mark.parametrize("drain_s", [0.0, 3600.0])
def test_a_worker_that_is_told_to_stop_gives_its_engine_some_seconds(worker: GenerationWorker, drain_s: float) -> None:
    left: list[bool] = []
    worker._settings = worker._settings.model_copy(update={"drain_s": drain_s})
    stand_in = SimpleNamespace(wait=lambda _: None, leave=lambda: left.append(True), pid=1, alive=True)
    worker._engine = cast(EngineProcess, stand_in)
    worker.horse_ended(0)
    assert not left
    worker.handle_warm_shutdown_request()
    for _ in range(2):
        worker.horse_ended(0)
    assert left == ([] if drain_s else [True])


def test_a_worker_that_is_told_to_stop_while_its_engine_draws_hears_the_reply_first(worker: GenerationWorker) -> None:
    """SIGTERM comes in the middle of the wait: the job is finished, and the worker stops after it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with Engine() as engine:
        worker._engine = engine.handle
        worker._watched = cast(Any, (SimpleNamespace(timeout=60), None))
        worker.register_birth()
        worker.set_state(WorkerStatus.BUSY)
        worker._install_signal_handlers()
        engine.handle._send({})

        def stop_then_answer() -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            while not worker._stop_requested:
                time.sleep(0.01)
            engine.answer(active=["a"])

        timer = threading.Timer(0.2, stop_then_answer)
        timer.start()
        try:
            assert worker.wait_for_horse() == (engine.pid, os.EX_OK, None) and worker._receive_state()
        finally:
            timer.join()
            for number, handler in before.items():
                signal.signal(number, handler)
        assert worker.queues[0].engine_state.active == {"a"}  # type: ignore[attr-defined]
        os.close(engine.answers)


def test_a_worker_that_is_silent_is_dead_within_seconds(
    worker: GenerationWorker, redis: Redis, settings: Settings, storage: Storage
) -> None:
    """Its job is queued again by another's look, and no try of it is lost."""
    ledger = Ledger(storage, redis, settings)
    generation = ledger.accept(request())
    taken = worker.queue_class.dequeue_any(worker.queues, None, connection=redis, serializer=SERIALIZER)
    assert taken is not None
    job, queue = taken
    execution = worker.prepare_execution(job)
    worker.prepare_job_execution(job, remove_from_intermediate_queue=True)
    ledger.start(generation.id)
    assert 0 < redis.ttl(execution.key) <= settings.lost_after_s  # type: ignore[operator]
    worker.run_maintenance_tasks()
    assert queue.get_job_ids() == [], "it is on a living worker"
    redis.zadd(queue.started_job_registry.key, {execution.composite_key: time.time() + 3600})  # the clock is set back
    redis.delete(execution.key)
    until = time.monotonic() + 60
    while not queue.get_job_ids() and time.monotonic() < until:
        time.sleep(0.5)
        worker.run_maintenance_tasks()
    assert queue.get_job_ids() == [generation.id]
    assert queues_retries(queue) == settings.retries - 1, "a worker that died with it is a try"
    assert ledger.end(generation.id) is None
    ledger.cancel(generation.id)
    assert ledger.get(generation.id).status is Status.CANCELED


def queues_retries(queue: Queue) -> int | None:
    job = queue.fetch_job(queue.get_job_ids()[0])
    assert job is not None
    return job.retries_left


def test_what_was_canceled_on_its_way_to_a_worker_that_died_is_swept_away(
    worker: GenerationWorker, redis: Redis, settings: Settings, storage: Storage
) -> None:
    queue = canceled_on_its_way(redis, settings)
    queues = Queues(redis, settings)
    queues.enqueue_generation(MODEL, "1" * 32)
    assert AffinityQueue.dequeue_any(worker.queues, None, redis, serializer=SERIALIZER)
    worker.run_maintenance_tasks()
    assert queue.intermediate_queue.get_job_ids() == ["1" * 32], "one that may still arrive stays"


def test_an_engine_that_died_holds_nothing(worker: GenerationWorker, redis: Redis) -> None:
    """It may die while it has nothing to do; a worker must not choose by what it wore, nor tell others of it."""
    worker.register_birth()
    with Engine() as engine:
        worker._engine = engine.handle
        engine.handle._send({})
        engine.answer(active=["a"], resident=["a", "b"])
        assert engine.handle.wait() and worker._receive_state()
        worker.heartbeat()
        assert worker_states(redis)[0].resident == ["a", "b"]
        engine.ended = NOT_PRISTINE
        worker.heartbeat()
        (state,) = worker_states(redis)
        assert (state.active, state.resident) == ([], [])
        assert worker.queues[0].engine_state.active == frozenset()  # type: ignore[attr-defined]
        os.close(engine.answers)


def test_an_engine_that_left_before_it_read_an_order_did_not_die(
    worker: GenerationWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody told it to end while it had nothing to do, and the order came just then: a new one is given it."""
    given: list[str] = []

    def engine(answer: bool, status: int) -> EngineProcess:
        stand_in = SimpleNamespace(pid=1, wait=lambda _: answer, status=lambda: status, close=lambda: None)
        stand_in.alive, stand_in.order = False, lambda job, _, queue: given.append(f"{job.id} of {queue}")
        return cast(EngineProcess, stand_in)

    monkeypatch.setattr("workers.dispatch.generation_worker.EngineProcess", lambda *_: engine(True, os.EX_OK))
    worker._watched = cast(Any, (SimpleNamespace(id="0" * 32, origin=QUEUE), None))
    worker._engine = engine(False, NOT_PRISTINE)
    assert worker.horse_ended(0) == (1, NOT_PRISTINE, None) and not given, "this one died"
    worker._engine = engine(False, os.EX_OK)
    assert worker.horse_ended(0) is None and given == ["0" * 32 + f" of {QUEUE}"]
    assert worker.horse_ended(0) == (1, os.EX_OK, None)


def test_one_worker_sweeps_at_a_time(worker: GenerationWorker, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    swept = []
    monkeypatch.setattr(GenerationWorker, "sweep", lambda self: swept.append(self.name))
    worker.run_maintenance_tasks()
    worker.run_maintenance_tasks()
    assert swept == ["worker"]


def test_a_clock_that_is_set_back_holds_no_sweep(
    worker: GenerationWorker, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis keeps the lock until the clock is there again; who waits for it looks at another clock."""
    swept = []
    monkeypatch.setattr(GenerationWorker, "sweep", lambda self: swept.append(self.name))
    redis.set(SWEEP_LOCK, "somebody", ex=3600)
    until = time.monotonic() + 60
    while not swept and time.monotonic() < until:
        worker.run_maintenance_tasks()
        time.sleep(0.5)
    assert swept == ["worker"]


def test_a_worker_that_lives_loses_nothing_to_an_outage_or_a_step(
    worker: GenerationWorker, redis: Redis, settings: Settings, storage: Storage
) -> None:
    """All that has a time in Redis has run out at once; the next heartbeat puts it right."""
    Ledger(storage, redis, settings).accept(request())
    taken = worker.queue_class.dequeue_any(worker.queues, None, connection=redis, serializer=SERIALIZER)
    assert taken is not None
    job, queue = taken
    worker.register_birth()
    execution = worker.prepare_execution(job)
    worker.prepare_job_execution(job, remove_from_intermediate_queue=True)
    for _ in range(6):
        worker.run_maintenance_tasks()
        redis.delete(execution.key, worker.key)
        redis.zadd(queue.started_job_registry.key, {execution.composite_key: 1})
        time.sleep(settings.sweep_every_s)
        worker.maintain_heartbeats(job, execution)
    worker.run_maintenance_tasks()
    assert queue.get_job_ids() == [] and len(queue.started_job_registry.get_job_ids(cleanup=False)) == 1


FORKS = """
import os, signal, sys
from pathlib import Path
from app.shared.generations import Ledger
from app.shared.connection import connect
from app.shared.queue import INTAKE, Queues
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.app.shared.making import request
from workers.dispatch.intake_worker import IntakeWorker

settings = Settings()
redis = connect(settings)
held = Storage(settings.store_url)
worker = IntakeWorker(settings, [Queues(redis, settings).of(INTAKE)], "intake", redis)
worker.run_maintenance_tasks()
print(*sorted(thread.name for thread in Path("/proc/self/task").iterdir()), sep="\\n")
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    held.put("a", b"b")
    os._exit(0 if held.get("a") == b"b" else 1)
sys.exit(os.waitpid(pid, 0)[1])
"""


def test_an_intake_worker_that_has_swept_can_still_fork(settings: Settings, redis: Redis, storage: Storage) -> None:
    """Object storage runs threads; in a fork of a process that has them it waits for ever."""
    ledger = Ledger(storage, redis, settings)
    generation = ledger.accept(request())
    redis.flushall()  # something to bring back: the sweep reads storage, not only its list
    done = worker_process(FORKS, settings)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 1 or sys.platform != "linux", f"threads: {done.stdout}"
    assert ledger.queues.of(QUEUE).get_job_ids() == [generation.id]


def test_a_sweep_that_cannot_reach_storage_is_tried_again(
    worker: GenerationWorker, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.shared.errors import Unavailable

    def away(_: object) -> None:
        raise Unavailable("storage_unavailable", "object storage did not answer")

    monkeypatch.setattr(Sweep, "run", away)
    worker.run_maintenance_tasks()
    assert not worker._reported
    intake = IntakeWorker(settings, [Queues(redis, settings).of(INTAKE)], "intake", redis)
    assert intake.get_heartbeat_ttl(None) == settings.lost_after_s  # type: ignore[arg-type]


def test_an_intake_worker_logs_the_same_broken_sweep_once(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It sweeps in a fork, whose exception its parent must know."""

    def broken(_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(SweepingWorker, "sweep", broken)
    intake = IntakeWorker(settings, [Queues(redis, settings).of(INTAKE)], "intake", redis)
    for _ in range(3):
        redis.delete(SWEEP_LOCK)
        intake.run_maintenance_tasks()
    (fault,) = intake._reported
    assert "ZeroDivisionError: a bug" in fault and "in broken" in fault
    assert "".join(capfd.readouterr()).count("sweep_failed") <= 1
