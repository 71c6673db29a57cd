"""Law 4 with storage that is away: a job waits for it, loses no try, and draws the same bytes."""

import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from redis import Redis
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from app.shared.catalog import file_key
from app.shared.errors import Unavailable
from app.shared.generation_keys import image_key
from app.shared.generations import Ledger
from app.shared.job import SERIALIZER
from app.shared.lifecycle import live_key
from app.shared.queue import Queues
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.uploads import Uploads
from app.shared.wire.generation import Status
from app.shared.wire.upload import UploadStatus
from tests.app.shared.making import MODEL, request, upload
from tests.workers import toy
from workers import intake, patience
from workers.dispatch.affinity import AffinityQueue, affinity_queues
from workers.dispatch.known_worker import PUT_BACK_S, JobRunner
from workers.drawing.engine import Engine
from workers.patience import Patience, PatientStorage

CALLS = ("put", "create", "flush", "get", "size", "delete")
MADE_OF_OTHERS = {"exists", "put_json"}
IMPATIENT = {"stream", "put_async", "create_async", "get_async", "delete_async"}


class Away:
    """Storage that answers only when it is told to, for whoever asks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails: Callable[[], bool] = lambda: False
        for name in CALLS:
            monkeypatch.setattr(Storage, name, self._asked(getattr(Storage, name)))

    def _asked(self, really: Callable[..., Any]) -> Callable[..., Any]:
        def ask(storage: Storage, *args: Any, **named: Any) -> Any:
            if self.fails():
                raise Unavailable("storage_unavailable", "nobody answers")
            return really(storage, *args, **named)

        return ask


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Away:
    monkeypatch.setattr(patience, "PAUSES_S", (0.001,))
    return Away(monkeypatch)


@pytest.fixture
def engine(storage: Storage, redis: Redis, settings: Settings) -> Iterator[Engine]:
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield Engine(toy.base(), storage, redis, settings)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


def use(storage: Storage) -> dict[str, Any]:
    data = toy.adapter(1)
    sha256 = hashlib.sha256(data).hexdigest()
    storage.put(file_key(sha256), data)
    return {"ref": "a", "name": "a", "version": 1, "sha256": sha256, "strength": 1.0}


@pytest.mark.parametrize("every", [2, 3])
def test_a_store_that_fails_over_and_over_costs_no_picture(
    engine: Engine, ledger: Ledger, storage: Storage, away: Away, every: int
) -> None:
    """It answers to one request of so many, or fails one of so many: the bytes are those of a calm day."""
    adapters = [use(storage)]
    calm = ledger.accept(request(adapters=adapters, count=2))
    engine.run(calm.id)
    other = ledger.accept(request(adapters=adapters, count=2))
    numbers = count()
    away.fails = lambda: next(numbers) % every != 0
    engine.run(other.id)
    away.fails = lambda: False
    assert ledger.get(other.id).status is Status.SUCCEEDED and next(numbers) > 10
    for index in range(2):
        assert storage.get(image_key(other.id, index)) == storage.get(image_key(calm.id, index)) is not None


def test_a_store_that_is_away_at_any_moment_costs_no_picture(
    engine: Engine, ledger: Ledger, storage: Storage, away: Away
) -> None:
    adapters = [use(storage)]
    asked = count()
    away.fails = lambda: next(asked) < 0
    engine.run(ledger.accept(request(adapters=adapters)).id)
    for moment in range(next(asked)):
        one = ledger.accept(request(adapters=adapters, seed=8))
        numbers = count(-moment)
        away.fails = lambda numbers=numbers: 0 <= next(numbers) < 20  # type: ignore[misc]
        engine.run(one.id)
        away.fails = lambda: False
        assert ledger.get(one.id).status is Status.SUCCEEDED, moment


def test_after_all_patience_it_fails_for_what_was_away(
    engine: Engine, ledger: Ledger, away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures cannot be stored, small records can."""
    engine._patience._most_s = 0.05
    put = Storage.put

    def full(storage: Storage, key: str, data: bytes | Path) -> None:
        if key.endswith(".png"):
            raise Unavailable("storage_unavailable", "nobody answers")
        put(storage, key, data)

    monkeypatch.setattr(Storage, "put", full)
    one = ledger.accept(request())
    engine.run(one.id)
    error = ledger.get(one.id).error
    assert error is not None and error.code == "storage_unavailable"
    assert "RADIATA_STORAGE_PATIENCE_S" in error.message and "nobody answers" in error.message


def take_and_run(redis: Redis, settings: Settings) -> bool:
    """Do what a worker and its engine do with the next job; say whether it succeeded."""
    taken = AffinityQueue.dequeue_any(affinity_queues(MODEL, redis, settings), None, redis, serializer=SERIALIZER)
    assert taken is not None
    job, queue = taken
    runner = JobRunner(settings, queue, "worker", redis)
    return runner.perform_job(job, queue, runner.prepare_execution(job))


def test_a_generation_that_nobody_can_fail_goes_back_uncounted(
    engine: Engine,
    ledger: Ledger,
    away: Away,
    redis: Redis,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Storage is away for longer than any patience: the job is put back as it was, time after time."""
    engine._patience._most_s = 0.01
    monkeypatch.setattr("workers.tasks._engine", engine)
    one = ledger.accept(request())
    away.fails = lambda: True
    for _ in range(settings.retries + 3):
        take_and_run(redis, settings)
    job = Queues(redis, settings).job(one.id)
    assert job is not None and job.retries_left == settings.retries and job.is_queued
    assert "Traceback" not in caplog.text, "RQ tells of it as of a fault"
    away.fails = lambda: False
    assert take_and_run(redis, settings)
    assert ledger.get(one.id).status is Status.SUCCEEDED


def test_what_redis_refuses_of_one_job_keeps_no_other_waiting(
    engine: Engine, ledger: Ledger, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something else stands where the live state of the first should be: it goes behind, slowly, and costs no try."""
    monkeypatch.setattr("workers.tasks._engine", engine)
    first, second = ledger.accept(request()), ledger.accept(request())
    redis.delete(live_key(first.id))
    redis.set(live_key(first.id), "garbage")
    began = time.monotonic()
    for _ in range(2):
        take_and_run(redis, settings)
    assert time.monotonic() - began >= PUT_BACK_S
    assert ledger.get(second.id).status is Status.SUCCEEDED
    job = Queues(redis, settings).job(first.id)
    assert job is not None and job.retries_left == settings.retries and job.is_queued
    assert take_and_run(redis, settings)
    assert ledger.get(first.id).status is Status.SUCCEEDED


def test_a_real_conflict_is_looked_at_once(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    really = type(storage._store).get

    def get(store: object, key: str) -> bytes | None:
        asked.append(key)
        return really(store, key)  # type: ignore[arg-type]

    monkeypatch.setattr(type(storage._store), "get", get)
    one = Patience(60)
    with one.during():
        assert PatientStorage(storage, one).create("a", b"mine")
        assert not PatientStorage(storage, one).create("a", b"other") and asked == ["a"]


def test_every_verb_of_storage_waits_but_for_those_that_say_so() -> None:
    verbs = {name for name, value in vars(Storage).items() if callable(value) and not name.startswith("_")}
    assert verbs - MADE_OF_OTHERS - IMPATIENT == {name for name in vars(PatientStorage) if not name.startswith("_")}


def test_a_generation_that_is_canceled_while_it_waits_ends(engine: Engine, ledger: Ledger, away: Away) -> None:
    one = ledger.accept(request())
    looked = count()

    def fails() -> bool:
        if threading.current_thread() is not threading.main_thread():
            return False  # the API reaches it
        if next(looked) == 10:
            thread = threading.Thread(target=ledger.cancel, args=(one.id,))
            thread.start()
            thread.join()
        return True

    away.fails = fails
    engine.run(one.id)
    away.fails = lambda: False
    assert ledger.get(one.id).status is Status.CANCELED


def test_the_clock_of_a_job_stands_while_it_waits(away: Away, storage: Storage) -> None:
    left = iter(range(3))
    away.fails = lambda: time.sleep(0.5) or next(left, None) is not None  # type: ignore[func-returns-value]
    one = Patience(60)
    with one.during(), UnixSignalDeathPenalty(2, JobTimeoutException):
        PatientStorage(storage, one).put("a", b"b")
        away.fails = lambda: False
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 2
    with one.during(), pytest.raises(JobTimeoutException), UnixSignalDeathPenalty(1, JobTimeoutException):
        PatientStorage(storage, one).get("a")
        time.sleep(30)


def test_other_threads_are_told_at_once(away: Away, storage: Storage) -> None:
    one = Patience(60)
    told: list[BaseException] = []

    def ask() -> None:
        try:
            PatientStorage(storage, one).get("a")
        except Unavailable as error:
            told.append(error)

    away.fails = lambda: True
    with one.during():
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(30)
    assert len(told) == 1


def test_what_was_written_while_its_answer_was_lost_is_ours(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    really, lost = Storage.create, [True]

    def create(storage: Storage, key: str, data: bytes) -> bool:
        made = really(storage, key, data)
        if lost:
            lost.pop()
            raise Unavailable("storage_unavailable", "the answer was lost")
        return made

    monkeypatch.setattr(Storage, "create", create)
    monkeypatch.setattr(patience, "PAUSES_S", (0.001,))
    one = Patience(60)
    with one.during():
        assert PatientStorage(storage, one).create("a", b"mine")
        assert not PatientStorage(storage, one).create("a", b"other")


def test_a_generation_out_of_time_says_so(
    engine: Engine, ledger: Ledger, storage: Storage, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_: object) -> None:
        raise JobTimeoutException("Task exceeded maximum timeout value")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_picture", late)
        one = ledger.accept(request())
        engine.run(one.id)
    error = ledger.get(one.id).error
    assert error is not None and error.code == "timed_out"
    assert f"RADIATA_GENERATION_TIMEOUT_S ({settings.generation_timeout_s} s)" in error.message


def test_an_upload_out_of_time_says_so(
    storage: Storage, redis: Redis, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_: object, **__: object) -> None:
        raise JobTimeoutException("Task exceeded maximum timeout value")

    monkeypatch.setattr(intake, "limit_memory", lambda _: None)
    monkeypatch.setattr(intake.Intake, "admit", late)
    file = tmp_path / "file"
    file.write_bytes(b"bytes")
    one = upload()
    Uploads(storage, redis, settings).stage(one, file)
    intake.Intake(storage, redis, settings).run(one.id)
    settled = Uploads(storage, redis, settings).get(one.id)
    assert settled.status is UploadStatus.REFUSED and settled.code == "timed_out"
    assert settled.message is not None and "RADIATA_INSPECT_TIMEOUT_S" in settled.message
