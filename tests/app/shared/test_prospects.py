"""What waits for ever is ended, whoever looks; what somebody may still draw is not, whatever its queue is called."""

import math
import random
import time
from datetime import UTC, datetime

import pytest
from redis import Redis

from app.shared import sweep as sweeping
from app.shared.generations import Ledger
from app.shared.queue import Queues, generation_queue
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.sweep import GRACE_S, IMPOSSIBLE, Sweep
from app.shared.wire.generation import Generation, Status
from app.shared.worker_state import WorkerState, publish
from tests.app.shared.making import MODEL, profile, request

OLD, NEW = "a" * 64, "b" * 64


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


@pytest.fixture
def sweeps(storage: Storage, redis: Redis, settings: Settings) -> list[Sweep]:
    """Two machines: one has the model in its RADIATA_MODELS, the other has not."""
    elsewhere = settings.model_copy(update={"models": {"another": "none"}, "default_model": None})
    return [Sweep(storage, redis, one) for one in (settings, elsewhere)]


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "GRACE_S", 0.0)


def lives(redis: Redis, base: str, name: str = "", **preprocessors: list[str]) -> None:
    redis.sadd("rq:workers", f"rq:worker:{name or base}")
    has = {"base": base, "preprocessors": preprocessors, "active": [], "resident": []}
    said = {"name": name or base, "model": MODEL, "host": "", "state": "idle", "since": datetime.now(UTC), **has}
    publish(redis, WorkerState.model_validate(said), 60)


def stores(storage: Storage, base: str) -> None:
    storage.put(f"models/{MODEL}.json", profile(fingerprint=base).model_dump_json().encode())


def end(ledger: Ledger, one: Generation) -> str:
    """How it ended, or that it waits."""
    now = ledger.get(one.id)
    return now.error.code if now.error else now.status.value


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("who", [0, 1])
def test_whoever_looks_finds_the_same(
    ledger: Ledger, storage: Storage, redis: Redis, sweeps: list[Sweep], who: int
) -> None:
    stores(storage, NEW)
    of_old, of_new, of_any = (ledger.accept(request(base=base)) for base in (OLD, NEW, ""))
    lives(redis, OLD)
    lives(redis, NEW)
    sweeps[who].run()
    assert [end(ledger, one) for one in (of_old, of_new, of_any)] == ["queued"] * 3, "one that has it lives"
    redis.srem("rq:workers", f"rq:worker:{OLD}")
    sweeps[who].run()
    assert [end(ledger, one) for one in (of_old, of_new, of_any)] == ["base_changed", "queued", "queued"]


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("who", [0, 1])
def test_maps_that_nobody_can_make_any_more_end_it(
    ledger: Ledger, storage: Storage, redis: Redis, sweeps: list[Sweep], who: int
) -> None:
    """While no worker of the base lives, the one that has the models may be about to come back."""
    stores(storage, NEW)
    needs: list[dict[str, list[str]]] = [{}, {"depth": ["d"]}, {"depth": []}, {"depth": ["d"], "pose": ["p"]}]
    made = [ledger.accept(request(base=NEW, preprocessors=one)) for one in needs]
    sweeps[0].run()
    lives(redis, NEW, "without")
    lives(redis, NEW, "with", depth=["d"], pose=["p"])
    sweeps[who].run()
    assert [end(ledger, one) for one in made] == ["queued"] * 4
    redis.srem("rq:workers", "rq:worker:with")
    lives(redis, NEW, "other", depth=["e"])
    sweeps[who].run()
    assert [end(ledger, one) for one in made] == ["queued", "other_preprocessor", "queued", "other_preprocessor"]


@pytest.mark.usefixtures("_at_once")
def test_maps_wait_for_a_worker_that_loads(ledger: Ledger, storage: Storage, redis: Redis, sweeps: list[Sweep]) -> None:
    """The one that makes them may be started again while another, which does not, goes on."""
    stores(storage, NEW)
    one = ledger.accept(request(base=NEW, preprocessors={"depth": ["d"]}))
    lives(redis, NEW, "without")
    lives(redis, "", "again")
    sweeps[0].run()
    assert end(ledger, one) == "queued"
    lives(redis, NEW, "again", depth=["e"])
    sweeps[0].run()
    assert end(ledger, one) == "other_preprocessor"


def test_two_that_look_in_turn_watch_it_together(
    ledger: Ledger, storage: Storage, redis: Redis, settings: Settings, sweeps: list[Sweep]
) -> None:
    stores(storage, NEW)
    lives(redis, NEW)
    ledger.accept(request(base=OLD))
    for turn in range(6):
        sweeps[turn % 2].run()
        (seconds,) = redis.hvals(IMPOSSIBLE)  # type: ignore[misc]
        assert float(seconds) == turn * settings.sweep_every_s
    lives(redis, OLD)
    sweeps[1].run()
    assert not redis.exists(IMPOSSIBLE)


@pytest.mark.parametrize("step_s", [-1e6, -61.0, 61.0, 1e6])
def test_a_clock_that_is_set_and_a_service_that_was_stopped_end_nothing(
    ledger: Ledger, storage: Storage, redis: Redis, sweeps: list[Sweep], monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    """Only a minute of looks does: another machine may be about to come back."""
    stores(storage, NEW)
    lives(redis, NEW)
    one = ledger.accept(request(base=OLD))
    sweeps[0].run()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + step_s)
    for sweep in sweeps:
        sweep.run()
    assert end(ledger, one) == "queued"
    assert 0 < redis.ttl(IMPOSSIBLE) <= 60, "where nobody looks for a minute it begins anew"  # type: ignore[operator]


def test_looks_that_are_far_apart_are_counted_too(
    ledger: Ledger, storage: Storage, redis: Redis, settings: Settings
) -> None:
    stores(storage, NEW)
    lives(redis, NEW)
    ledger.accept(request(base=OLD))
    rare = settings.model_copy(update={"sweep_every_s": 100})
    Sweep(storage, redis, rare).run()
    assert redis.ttl(IMPOSSIBLE) > 2 * rare.sweep_every_s  # type: ignore[operator]


def test_a_minute_of_looks_ends_it(
    ledger: Ledger, storage: Storage, redis: Redis, settings: Settings, sweeps: list[Sweep]
) -> None:
    stores(storage, NEW)
    lives(redis, NEW)
    one = ledger.accept(request(base=OLD))
    looks = 0
    while end(ledger, one) == "queued":
        sweeps[looks % 2].run()
        looks += 1
    assert end(ledger, one) == "base_changed"
    assert looks - 1 == math.ceil(GRACE_S / settings.sweep_every_s)


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("stored", [None, b"", b"{", b"[]"])
def test_no_base_has_changed_where_no_profile_can_be_read(
    ledger: Ledger, storage: Storage, redis: Redis, sweeps: list[Sweep], stored: bytes | None
) -> None:
    if stored is not None:
        storage.put(f"models/{MODEL}.json", stored)
    one = ledger.accept(request(base=OLD))
    sweeps[0].run()
    assert end(ledger, one) == "queued"
    lives(redis, NEW)
    for sweep in sweeps:
        sweep.run()
    assert end(ledger, one) == "queued", "a worker that has it publishes it again, and then it is known"
    stores(storage, NEW)
    sweeps[1].run()
    assert end(ledger, one) == "base_changed"


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("stray", ["evil", "evil:low", "../../pending", f"{MODEL}@{OLD[:16]}", "@", "", "x" * 9999])
def test_a_healthy_generation_on_a_queue_that_is_not_its_own_is_only_taken_off_that(
    ledger: Ledger, storage: Storage, redis: Redis, settings: Settings, sweeps: list[Sweep], stray: str
) -> None:
    stores(storage, NEW)
    lives(redis, NEW)
    one = ledger.accept(request(base=NEW))
    key = Queues(redis, settings).of(generation_queue("") + stray).key
    redis.rpush(key, one.id, one.id)
    redis.sadd("rq:queues", key)
    for sweep in sweeps:
        sweep.run()
    assert end(ledger, one) == "queued" and redis.llen(key) == 0
    assert ledger.queues.of(generation_queue(MODEL, base=NEW)).get_job_ids() == [one.id]
    assert redis.exists(f"rq:job:{one.id}")


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("seed", range(4))
def test_records_decide_whatever_stands_on_queues(
    ledger: Ledger, storage: Storage, redis: Redis, settings: Settings, sweeps: list[Sweep], seed: int
) -> None:
    """Random ids on random queues: what can be drawn waits, what cannot has ended, and junk stops nobody."""
    chance = random.Random(seed)
    stores(storage, NEW)
    lives(redis, NEW)
    bases = [chance.choice([OLD, NEW, ""]) for _ in range(12)]
    made = [ledger.accept(request(base=base)) for base in bases]
    redis.hset(IMPOSSIBLE, mapping={made[0].id: "never", made[1].id: "nan", "junk": "x"})
    for _ in range(20):
        key = "rq:queue:" + chance.choice(
            [generation_queue(chance.choice(["evil", "x@y", "another"])), generation_queue(MODEL, base="f" * 16)]
        )
        redis.rpush(key, chance.choice([chance.choice(made).id, "junk"]))
        redis.sadd("rq:queues", key)
    for _ in range(2):
        for sweep in sweeps:
            sweep.run()
    for one, base in zip(made, bases, strict=True):
        assert end(ledger, one) == ("base_changed" if base == OLD else "queued")
        assert ledger.get(one.id).status is Status.FAILED or ledger.get(one.id).queue_position is not None
