"""Law 3 with bases that differ under one name: what was accepted for one is drawn by that one, or by nobody."""

import dataclasses
import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from redis import Redis

from app.shared.errors import Unavailable
from app.shared.generations import Ledger
from app.shared.profiles import Profiles
from app.shared.queue import Queues, base_of, generation_queue, generation_queues, model_of
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Status
from app.shared.worker_state import WorkerState, other_bases, publish, withdraw, worker_states
from tests.app.shared.making import MODEL, request
from tests.workers import toy
from tests.workers.control.tiny_preprocessors import save_dpt
from workers import __main__ as program
from workers.control.preprocessors import fingerprint_of
from workers.dispatch.affinity import affinity_queues
from workers.dispatch.generation_worker import GenerationWorker
from workers.drawing.engine import Engine
from workers.models.publishing import Publisher

OLD, NEW = "a" * 64, "b" * 64


def publisher(base: str, storage: Storage, redis: Redis, settings: Settings, **facts: object) -> Publisher:
    toys = toy.base()
    named = toys.profile.model_copy(update={"name": MODEL, "fingerprint": base, **facts})
    return Publisher(dataclasses.replace(toys, profile=named, folder=Path("/none")), storage, redis, settings)


def lives(redis: Redis, name: str, base: str) -> None:
    redis.sadd("rq:workers", f"rq:worker:{name}")
    state = WorkerState(
        name=name, model=MODEL, base=base, host="", state="idle", active=[], resident=[], since=datetime.now(UTC)
    )
    publish(redis, state, 60)


def offered(storage: Storage, settings: Settings) -> str:
    return Profiles(storage, settings).get(MODEL).fingerprint


def test_the_first_living_base_is_the_one_that_is_offered(redis: Redis, storage: Storage, settings: Settings) -> None:
    old, new = (publisher(base, storage, redis, settings) for base in (OLD, NEW))
    old.offer()
    lives(redis, "old", OLD)
    lives(redis, "new", NEW)
    new.offer()
    assert offered(storage, settings) == OLD
    assert other_bases(worker_states(redis), {MODEL: OLD}) == {MODEL: [NEW]}
    withdraw(redis, "old")
    new.look_again()
    assert offered(storage, settings) == NEW
    assert other_bases(worker_states(redis), {MODEL: NEW}) == {}


def test_a_preprocessor_that_was_fetched_since_is_pinned_from_then_on(
    redis: Redis, storage: Storage, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fetched(*_: object, **__: object) -> str:
        if not any(tmp_path.iterdir()):
            raise FileNotFoundError("it was not fetched yet")
        return str(tmp_path)

    monkeypatch.setattr("workers.control.preprocessors.snapshot_download", fetched)
    settings = settings.model_copy(update={"preprocessors": {"depth": "owner/name"}})
    one = publisher(OLD, storage, redis, settings, adapter_kinds=["weights", "control"])
    one.offer()
    one.look_again()
    assert not Profiles(storage, settings).get(MODEL).preprocessors
    save_dpt(tmp_path)
    assert one.note_fetched() and not one.note_fetched(), "it is told once"
    one.look_again()
    assert Profiles(storage, settings).get(MODEL).preprocessors == {"depth": [fingerprint_of(tmp_path)]}


def test_whatever_is_forgotten_of_workers_a_living_one_has_the_base_that_is_offered(
    redis: Redis, storage: Storage, settings: Settings
) -> None:
    """Another took the place while Redis knew of nobody, and went for good: who was first comes back."""
    first, second = (publisher(base, storage, redis, settings) for base in (OLD, NEW))
    first.offer()
    lives(redis, "first", OLD)
    lives(redis, "second", NEW)
    redis.flushall()
    second.look_again()
    assert offered(storage, settings) == NEW, "it could not know better"
    lives(redis, "first", OLD)
    lives(redis, "second", NEW)
    first.look_again()
    assert offered(storage, settings) == NEW, "a living worker has it: what is accepted is drawn"
    withdraw(redis, "second")
    first.look_again()
    assert offered(storage, settings) == OLD


@pytest.mark.parametrize("seed", range(8))
def test_in_whatever_order_workers_come_and_go_the_offer_comes_to_rest_with_one_that_lives(
    redis: Redis, storage: Storage, settings: Settings, seed: int
) -> None:
    chance = random.Random(seed)
    every = {base: publisher(base, storage, redis, settings) for base in (OLD, NEW, "c" * 64)}
    living: set[str] = set()
    for _ in range(30):
        base = chance.choice(list(every))
        if base in living and chance.random() < 0.4:
            living.remove(base)
            withdraw(redis, base)
        elif base in living:
            every[base].look_again()
        else:  # published before it is heard of
            every[base].offer()
            if chance.random() < 0.8:
                living.add(base)
        if chance.random() < 0.2:
            redis.flushall()
            every[base].look_again()
        if chance.random() < 0.1:
            storage.put(f"models/{MODEL}.json", b"")
        for one in living:
            lives(redis, one, one)
    living.add(OLD)
    lives(redis, OLD, OLD)
    for one in living:
        every[one].look_again()
    rests = offered(storage, settings)
    assert rests in living
    for one in living:
        every[one].look_again()
    assert offered(storage, settings) == rests


def test_who_has_nothing_to_do_waits_for_no_storage(
    redis: Redis, storage: Storage, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order that came meanwhile would wait with it."""

    def away(_key: str) -> bytes:
        raise Unavailable("storage_unavailable", "it does not answer")

    one = publisher(OLD, storage, redis, settings)
    one.offer()
    monkeypatch.setattr(storage, "get", away)
    with pytest.raises(Unavailable):
        one.look_again()


def test_a_queue_says_its_model_and_its_base() -> None:
    for name in generation_queues("a.b-c", OLD):
        assert model_of(name) == "a.b-c" and base_of(name) in ("", OLD[:16])
    assert base_of(generation_queue("a", "high", OLD)) == base_of(generation_queue("a", base=OLD)) == OLD[:16]


def test_no_worker_takes_what_was_accepted_for_another_base(redis: Redis, storage: Storage, settings: Settings) -> None:
    """What says none, as records of version 0.1 do, is any's; places and room count what comes before it."""
    ledger = Ledger(storage, redis, settings)
    of_old, of_new, of_any = (ledger.accept(request(base=base)) for base in (OLD, NEW, ""))
    taken = []
    queues = affinity_queues(MODEL, redis, settings, NEW)
    while found := GenerationWorker.queue_class.dequeue_any(queues, None, redis):
        taken.append(found[0].id)
    assert sorted(taken) == sorted([of_new.id, of_any.id])
    assert ledger.get(of_old.id).queue_position == 0 and Queues(redis, settings).waiting(MODEL, "low", OLD) == 1


@pytest.fixture
def engine(storage: Storage, redis: Redis, settings: Settings) -> Iterator[Engine]:
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield Engine(toy.base(), storage, redis, settings)
    torch.use_deterministic_algorithms(deterministic)


def test_an_engine_never_draws_for_another_base(
    engine: Engine, redis: Redis, storage: Storage, settings: Settings
) -> None:
    """The last net: the first digits of a queue's name may be the same, or the folder may have changed since."""
    ledger = Ledger(storage, redis, settings)
    one = ledger.accept(request(base=engine.base[:16] + "f" * 48))
    with pytest.raises(Unavailable):
        engine.run(one.id)
    assert ledger.get(one.id).status is Status.QUEUED
    own = ledger.accept(request(base=engine.base))
    engine.run(own.id)
    assert ledger.get(own.id).status is Status.SUCCEEDED


def test_a_worker_whose_engine_came_back_with_another_base_ends(redis: Redis, settings: Settings) -> None:
    worker = GenerationWorker(settings, affinity_queues(MODEL, redis, settings), "worker", redis)
    worker._set_base(OLD)
    assert generation_queue(MODEL, base=OLD) in worker.queue_names()
    assert not (worker._stop_requested or worker.base_changed)
    worker._set_base(NEW)
    assert worker._stop_requested and worker.base_changed


def test_a_worker_whose_base_changed_ends_as_what_is_to_be_started_again(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A supervisor that restarts what fails must see it fail, with another status than wrong settings have."""

    def start(worker: GenerationWorker) -> bool:
        worker._set_base(OLD)
        return True

    def work(worker: GenerationWorker, **_: str) -> None:
        worker._set_base(NEW)

    monkeypatch.setattr(GenerationWorker, "start_engine", start)
    monkeypatch.setattr(GenerationWorker, "work", work)
    monkeypatch.setattr(program, "_settings", lambda: settings)
    monkeypatch.setattr(program, "watch_parent", lambda: None)
    with pytest.raises(SystemExit) as caught:
        program.generate(MODEL)
    assert caught.value.code == os.EX_TEMPFAIL
    assert f"the folder of model {MODEL!r}" in capsys.readouterr().err
