"""Law 4 without a process: one end for each generation, whoever dies at whatever line."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, cast

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from rq.executions import Execution
from rq.job import JobStatus

from app.shared.errors import Conflict, NotFound, RadiataError
from app.shared.events import stream_key
from app.shared.generation_keys import image_key, pending_key
from app.shared.generations import Ledger
from app.shared.index import INDEX
from app.shared.lifecycle import id_for
from app.shared.queue import generation_queue, generation_queues
from app.shared.record_format import FORMAT
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.sweep import Sweep
from app.shared.wire.generation import Generation, Status
from tests.app.shared.making import MODEL, request

QUEUE = generation_queue(MODEL)


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


def accept(ledger: Ledger, **fields: Any) -> Generation:
    return ledger.accept(request(**fields))


def succeeded(generation: Generation) -> Generation:
    return generation.model_copy(update={"status": Status.SUCCEEDED})


def away(*_: object) -> None:
    raise RedisConnectionError("gone")


def ends_told(redis: Redis, generation_id: str) -> list[str]:
    told: Any = redis.xrange(stream_key(generation_id))
    statuses = [json.loads(fields[b"data"])["status"] for _, fields in told if fields[b"kind"] == b"status"]
    return [status for status in statuses if Status(status).ended]


def all_at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Results of the calls, started together; a RadiataError is a result."""
    gate = threading.Barrier(len(calls))

    def one(call: Callable[[], Any]) -> Any:
        gate.wait()
        try:
            return call()
        except RadiataError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def sweep(ledger: Ledger) -> None:
    Sweep(ledger._storage, ledger._redis, ledger._settings).run()


def sweeps(ledger: Ledger, settings: Settings) -> None:
    """Three looks, the second late enough to tell what has no job from what is on its way."""
    for pause in (settings.sweep_every_s / 2, 0, 0):
        sweep(ledger)
        time.sleep(pause)


# One end


@pytest.mark.parametrize("turn", range(5))
def test_of_all_who_would_end_a_generation_one_does(ledger: Ledger, storage: Storage, redis: Redis, turn: int) -> None:
    generation = accept(ledger)
    finishers = [lambda: ledger.finish(succeeded(generation))] * 4
    cancellers = [lambda: ledger.cancel(generation.id)] * 4
    results = all_at_once([*finishers, *cancellers])
    end = ledger.end(generation.id)
    assert end is not None and ledger.get(generation.id) == end
    assert not storage.exists(pending_key(generation.id))
    assert ends_told(redis, generation.id) == [end.status]
    won = [result for result in results[:4] if result is True]
    if end.status is Status.SUCCEEDED:
        assert len(won) == 1
        assert all(isinstance(result, Conflict) for result in results[4:]), results[4:]
    else:
        assert not won
        assert all(result.status is Status.CANCELED for result in results[4:]), results[4:]


def test_an_end_that_nobody_was_told_of_cannot_be_canceled(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    generation = accept(ledger)
    with monkeypatch.context() as patch, pytest.raises(RedisConnectionError):
        patch.setattr(ledger, "_announce", away)
        ledger.finish(succeeded(generation))
    with pytest.raises(Conflict, match="succeeded"):
        ledger.cancel(generation.id)


def test_a_worker_that_finds_an_end_nobody_was_told_of_tells_it(
    ledger: Ledger, redis: Redis, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis went away between the manifest and its announcement, and RQ gives the job to another try."""
    generation = accept(ledger)
    assert ledger.start(generation.id)
    with monkeypatch.context() as patch, pytest.raises(RedisConnectionError):
        patch.setattr(ledger, "_announce", away)
        ledger.finish(succeeded(generation))
    assert ledger.start(generation.id) is None
    assert ledger.get(generation.id).status is Status.SUCCEEDED
    assert ends_told(redis, generation.id) == ["succeeded"]
    assert not storage.exists(pending_key(generation.id))


def test_pictures_go_with_every_end_but_success(ledger: Ledger, storage: Storage) -> None:
    kept, cleared = accept(ledger, count=2), accept(ledger, count=2)
    for generation in (kept, cleared):
        storage.put(image_key(generation.id, 1), b"drawn by a try that died")
    ledger.finish(succeeded(kept))
    ledger.cancel(cleared.id)
    ledger.discard(kept)  # what a second worker does that finished the same one later
    assert storage.exists(image_key(kept.id, 1))
    assert not storage.exists(image_key(cleared.id, 1))


def test_pictures_of_what_has_not_ended_stay(ledger: Ledger, storage: Storage) -> None:
    generation = accept(ledger)
    storage.put(image_key(generation.id, 0), b"being drawn")
    ledger.discard(generation)
    assert storage.exists(image_key(generation.id, 0))


# Nothing accepted is lost


def never_queued(ledger: Ledger, redis: Redis, patch: pytest.MonkeyPatch) -> Generation:
    with patch.context() as here:
        here.setattr(ledger, "queue", away)
        return accept(ledger)


def only_told(ledger: Ledger, redis: Redis, patch: pytest.MonkeyPatch) -> Generation:
    with patch.context() as here:
        here.setattr(ledger.queues, "enqueue_generation", away)
        return accept(ledger)


def redis_emptied(ledger: Ledger, redis: Redis, patch: pytest.MonkeyPatch) -> Generation:
    generation = accept(ledger)
    redis.flushall()
    return generation


def popped(ledger: Ledger, redis: Redis, patch: pytest.MonkeyPatch) -> Generation:
    generation = accept(ledger)
    queue = ledger.queues.of(QUEUE)
    redis.lmove(queue.key, queue.intermediate_queue.key)
    return generation


def in_the_queue(ledger: Ledger, redis: Redis, patch: pytest.MonkeyPatch) -> Generation:
    return accept(ledger)


@pytest.mark.parametrize("lost", [never_queued, only_told, redis_emptied, popped, in_the_queue])
def test_what_is_lost_is_brought_back_once(
    ledger: Ledger,
    redis: Redis,
    settings: Settings,
    lost: Callable[[Ledger, Redis, pytest.MonkeyPatch], Generation],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generation = lost(ledger, redis, monkeypatch)
    assert ledger.get(generation.id).status is Status.QUEUED
    sweeps(ledger, settings)
    queue = ledger.queues.of(QUEUE)
    assert queue.get_job_ids() == [generation.id]
    assert queue.intermediate_queue.get_job_ids() == []
    assert ledger.list(10, None)[0][0].id == generation.id
    assert ledger.start(generation.id) is not None


def test_a_record_that_cannot_be_read_holds_up_no_other(ledger: Ledger, storage: Storage, redis: Redis) -> None:
    storage.put(pending_key("0" * 32), b"{}")
    generation = accept(ledger)
    redis.flushdb()
    sweep(ledger)
    assert ledger.queues.job(generation.id) is not None


def test_two_sweeps_at_once_leave_a_job_on_its_way_alone(
    ledger: Ledger, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = popped(ledger, redis, monkeypatch)
    sweep(ledger)
    sweep(ledger)
    assert ledger.queues.of(QUEUE).get_job_ids() == []
    assert ledger.queues.job(generation.id) is not None


def test_a_job_whose_engine_still_loads_is_on_a_worker(
    ledger: Ledger, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = popped(ledger, redis, monkeypatch)
    job = ledger.queues.job(generation.id)
    assert job is not None
    with redis.pipeline() as pipe:
        Execution.create(job, ttl=60, pipeline=pipe)
        pipe.execute()
    sweeps(ledger, settings)
    assert ledger.queues.of(QUEUE).get_job_ids() == []


def test_an_end_nobody_was_told_of_is_told_by_the_sweep(
    ledger: Ledger, storage: Storage, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = accept(ledger)
    with monkeypatch.context() as patch, pytest.raises(RedisConnectionError):
        patch.setattr(ledger, "_announce", away)
        ledger.finish(succeeded(generation))
    ledger.queues.drop(generation.id)
    for _ in range(3):
        sweep(ledger)
    assert ends_told(redis, generation.id) == ["succeeded"]
    assert ledger.get(generation.id).status is Status.SUCCEEDED
    assert not storage.exists(pending_key(generation.id))
    assert ledger.queues.of(QUEUE).get_job_ids() == []


def test_what_failed_on_every_try_ends_once(ledger: Ledger, redis: Redis) -> None:
    generation = accept(ledger)
    job = ledger.queues.job(generation.id)
    assert job is not None
    job.set_status(JobStatus.FAILED)
    ledger.queues.of(QUEUE).remove(generation.id)
    for _ in range(3):
        sweep(ledger)
    ended = ledger.get(generation.id)
    assert ended.error is not None and ended.error.code == "worker_died"
    assert ends_told(redis, generation.id) == ["failed"]


def test_a_live_state_lost_in_the_middle_is_rebuilt_from_storage(ledger: Ledger, redis: Redis) -> None:
    running, ended = accept(ledger), accept(ledger)
    ledger.start(running.id)
    ledger.finish(succeeded(ended))
    before = ledger.get(ended.id)
    redis.flushall()
    assert ledger.get(ended.id) == before
    assert ledger.step(running.id, 2, 3)
    assert ledger.get(running.id).progress.step == 2


# Idempotency


def test_one_key_is_one_generation_and_one_job(ledger: Ledger, storage: Storage) -> None:
    calls = [lambda: ledger.accept(request(), idempotency_key="ä\xff", fingerprint="body")] * 8
    assert len({generation.id for generation in all_at_once(calls)}) == 1
    assert len(list(storage.keys("pending"))) == 1
    assert len(ledger.queues.of(QUEUE).get_job_ids()) == 1


def test_a_key_remembers_its_body_after_the_end_and_without_redis(ledger: Ledger, redis: Redis) -> None:
    first = ledger.accept(request(), idempotency_key="key", fingerprint="body")
    ledger.finish(succeeded(first))
    redis.flushall()
    again = ledger.repeat("key", "body")
    assert again and (again.id, again.status) == (first.id, Status.SUCCEEDED)
    with pytest.raises(Conflict, match="another body"):
        ledger.repeat("key", "another")
    assert ledger.repeat("new", "body") is None and ledger.repeat(None, "body") is None


def test_what_ended_between_repeat_and_accept_is_not_drawn_again(ledger: Ledger, storage: Storage) -> None:
    assert ledger.repeat("key", "body") is None
    first = ledger.accept(request(), idempotency_key="key", fingerprint="body")
    ledger.finish(succeeded(first))
    assert ledger.accept(request(), idempotency_key="key", fingerprint="body").status is Status.SUCCEEDED
    assert ledger.start(first.id) is None and not storage.exists(pending_key(first.id))


def test_a_key_means_what_it_meant_in_version_0_1_and_something_else_to_each_owner() -> None:
    old = sha256(b"radiata idempotency key\0" + "ä key".encode()).hexdigest()[:32]
    assert id_for("ä key") == id_for("ä key", "") == old
    ids = {id_for(key, owner) for owner in ("", "a", "ab") for key in ("key", "bkey", "b")}
    assert len(ids) == 9 and len({id_for(None) for _ in range(9)}) == 9


def test_a_redis_that_goes_at_acceptance_takes_nothing_back(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another request with the same key may have been told 202 already: what is in storage is accepted."""
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "queue", away)
        first = ledger.accept(request(), idempotency_key="key", fingerprint="body")
    assert ledger.accept(request(), idempotency_key="key", fingerprint="body").id == first.id
    sweep(ledger)
    assert ledger.queues.of(QUEUE).get_job_ids() == [first.id]


# The list


def test_a_rebuilt_list_holds_what_was_there(ledger: Ledger, redis: Redis) -> None:
    made = [accept(ledger) for _ in range(5)]
    for generation in made[:3]:
        ledger.finish(succeeded(generation))
    before, _ = ledger.list(10, None)
    assert [one.id for one in before] == [one.id for one in made[::-1]]
    redis.flushall()
    after, _ = ledger.list(10, None)
    assert {one.id for one in after} == {one.id for one in made}


def test_pages_lose_nothing_that_was_stored_in_the_same_second(ledger: Ledger, redis: Redis) -> None:
    made = {accept(ledger).id for _ in range(7)}
    redis.zadd(INDEX, dict.fromkeys(made, 1_700_000_000))
    seen, cursor = [], None
    while True:
        page, cursor = ledger.list(2, cursor)
        seen += [one.id for one in page]
        if cursor is None:
            break
    assert sorted(seen) == sorted(made)
    with pytest.raises(NotFound):
        ledger.list(2, "f" * 32)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "0" * 31, "0" * 32 + "\n", "A" * 32])
def test_only_an_id_becomes_a_key(ledger: Ledger, name: str) -> None:
    with pytest.raises(NotFound):
        ledger.get(name)


def test_priority_outlives_redis_and_what_is_applied_is_known_again(ledger: Ledger, redis: Redis) -> None:
    entry = {"ref": "a", "name": "a", "version": 1, "sha256": "a" * 64, "strength": 1.0}
    accepted = ledger.accept(request(adapters=[entry]), priority="high")
    assert (accepted.priority, accepted.queue_position) == ("high", 0)
    for empty in (lambda: None, redis.flushall):
        empty()
        sweep(ledger)
        waiting = [ledger.queues.of(name).get_job_ids() for name in generation_queues(MODEL)]
        assert waiting == [[accepted.id], [], []]
        job = ledger.queues.job(accepted.id)
        assert job and job.get_meta() == {"format": FORMAT, "adapters": ["a" * 64]}


def test_a_crowd_shuts_out_only_what_would_wait_behind_it(storage: Storage, redis: Redis, settings: Settings) -> None:
    ledger = Ledger(storage, redis, settings.model_copy(update={"max_queued": 2}))
    for priority in ("low", "low", "normal", "normal", "high", "high"):
        ledger.accept(request(), priority=priority)
    for priority in ("low", "normal", "high"):
        with pytest.raises(RadiataError, match="wait for model"):
            ledger.accept(request(), priority=priority)


def test_no_live_state_stays_for_ever(ledger: Ledger, redis: Redis) -> None:
    """Redis was emptied just before; whatever is said of a generation then goes when its time is over."""
    one = ledger.accept(request())
    for say in (lambda: ledger.put_back(one.id), lambda: ledger.step(one.id, 1, 2), lambda: ledger.start(one.id)):
        redis.flushall()
        say()
        keys = list(redis.scan_iter("radiata:*"))
        assert keys and all(cast(int, redis.ttl(key)) > 0 for key in keys)
