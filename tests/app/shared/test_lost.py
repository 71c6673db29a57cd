"""What nobody will do is found, whatever Redis has lost, and what somebody will do is left alone."""

import random
import time

import pytest
from redis import Redis
from rq.executions import Execution
from rq.job import JobStatus

from app.shared import sweep as sweeping
from app.shared.generations import Ledger
from app.shared.lifecycle import now
from app.shared.lost import MISSED, Lost, look, queues_of
from app.shared.queue import Queues, generation_queue
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.sweep import Sweep
from app.shared.wire.generation import Status
from app.shared.worker_state import WorkerState, publish
from tests.app.shared.making import MODEL, request

GONE = "retired-model"


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


@pytest.fixture
def sweep(storage: Storage, redis: Redis, settings: Settings) -> Sweep:
    return Sweep(storage, redis, settings)


def lost(redis: Redis, settings: Settings, ids: list[str]) -> list[tuple[str, JobStatus | None]]:
    queues = Queues(redis, settings)
    return list(Lost(redis, queues, settings, "generations").among(ids, look(redis, queues_of(redis, settings))))


def test_what_runs_or_waits_is_not_lost(redis: Redis, settings: Settings) -> None:
    queues = Queues(redis, settings)
    ids = [str(number) * 32 for number in range(5)]
    for one in ids[:4]:
        queues.enqueue_generation(MODEL, one)
    for one, status in ((ids[1], JobStatus.STARTED), (ids[2], JobStatus.FAILED)):
        queues.of(generation_queue(MODEL)).remove(one)
        job = queues.job(one)
        assert job is not None
        job.set_status(status)
        if status is JobStatus.STARTED:
            with redis.pipeline() as pipe:
                Execution.create(job, ttl=60, pipeline=pipe)
                pipe.execute()
    redis.delete(f"rq:job:{ids[3]}")
    assert lost(redis, settings, ids) == [(ids[2], JobStatus.FAILED), (ids[3], None), (ids[4], None)]
    assert queues.of(generation_queue(MODEL)).get_job_ids() == [ids[0]], "what is broken waits no more"


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_was_set_keeps_nothing_lost(redis: Redis, settings: Settings, ledger: Ledger, hours: int) -> None:
    generation = ledger.accept(request())
    queue = ledger.queues.of(generation_queue(MODEL))
    redis.lmove(queue.key, queue.intermediate_queue.key)
    assert lost(redis, settings, [generation.id]) == []
    redis.hset(MISSED + "generations", generation.id, str(time.time() - hours * 3600))
    assert [one for one, _ in lost(redis, settings, [generation.id])] == [generation.id]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_redis_loses_everything_waits_once_again(
    ledger: Ledger, sweep: Sweep, redis: Redis, settings: Settings, seed: int
) -> None:
    chance = random.Random(seed)
    made = {ledger.accept(request(), priority=chance.choice(("low", "normal", "high"))).id for _ in range(20)}
    for _ in range(3):
        for key in redis.keys("*"):  # type: ignore[union-attr]
            if chance.random() < 0.4:
                redis.delete(key)
    for _ in range(3):
        sweep.run()
        time.sleep(settings.sweep_every_s / 2)
    seen = look(redis, queues_of(redis, settings))
    waiting = [one for queue in seen.waiting.values() for one in queue]
    assert sorted(waiting) == sorted(made) and not seen.broken
    assert {one.id for one in ledger.list(50, None)[0]} == made


# Models that are no more


def started_and_dead(ledger: Ledger, redis: Redis, generation_id: str) -> None:
    """A worker of the model had it, and died with it."""
    queue = ledger.queues.of(generation_queue(GONE))
    queue.remove(generation_id)
    job = ledger.queues.job(generation_id)
    assert job is not None
    job.set_status(JobStatus.STARTED)


def known_to_nobody(ledger: Ledger, redis: Redis, generation_id: str) -> None:
    redis.flushall()


def in_its_queue(ledger: Ledger, redis: Redis, generation_id: str) -> None:
    pass


@pytest.mark.parametrize("where", [in_its_queue, known_to_nobody, started_and_dead])
def test_what_waits_for_a_model_that_is_gone_ends_with_a_reason(
    ledger: Ledger, storage: Storage, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch, where: object
) -> None:
    monkeypatch.setattr(sweeping, "GRACE_S", 0.5)
    sweep = Sweep(storage, redis, settings.model_copy(update={"lost_after_s": 1}))
    stays = ledger.accept(request())
    goes = ledger.accept(request(model=GONE), priority="low")
    where(ledger, redis, goes.id)  # type: ignore[operator]
    until = time.monotonic() + 60
    while ledger.get(goes.id).status is not Status.FAILED:
        sweep.run()
        assert time.monotonic() < until
        time.sleep(0.3)
    error = ledger.get(goes.id).error
    assert error is not None and error.code == "model_removed" and GONE in error.message
    assert ledger.get(stays.id).status is Status.QUEUED
    assert list(storage.keys("pending")) == [f"pending/{stays.id}.json"]


def test_a_model_that_another_machine_draws_with_is_not_gone(
    ledger: Ledger, sweep: Sweep, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "GRACE_S", 0.0)
    waits = ledger.accept(request(model=GONE))
    worker = WorkerState(name="w", model=GONE, host="far", state="busy", active=[], resident=[], since=now())
    publish(redis, worker, 60)
    redis.sadd("rq:workers", "rq:worker:w")
    for _ in range(3):
        sweep.run()
    assert ledger.get(waits.id).status is Status.QUEUED


def test_a_model_that_is_away_for_a_moment_is_not_gone(ledger: Ledger, sweep: Sweep) -> None:
    waits = ledger.accept(request(model=GONE))
    for _ in range(3):
        sweep.run()
    assert ledger.get(waits.id).status is Status.QUEUED
