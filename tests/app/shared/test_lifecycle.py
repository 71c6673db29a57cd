"""What holds for a job of every kind, tried with one that no service has: it needs nothing but a subclass."""

import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from rq.job import JobStatus

from app.shared import local_store
from app.shared.errors import Conflict, NotFound, Unavailable
from app.shared.job_records import Places
from app.shared.lifecycle import Lifecycle, id_for
from app.shared.lost import look
from app.shared.queue import INTAKE
from app.shared.records import Kind
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.values import Wire


class State(StrEnum):
    """Where a baking is in its life."""

    WAITING = "waiting"
    DONE = "done"
    BURNT = "burnt"
    CANCELED = "canceled"

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return self is not State.WAITING


class Baking(Wire):
    """A job that no service has."""

    id: str
    status: State = State.WAITING
    body: str = "body"
    owner: str = ""


PLACES = Places(
    "bakings",
    "bakings",
    Kind(r"bakings/([0-9a-f]{32})\.json", Baking, "bake again", lambda one: (one.id,)),
    "bakings/{}.json".format,
    Kind(r"baked/([0-9a-f]{32})\.json", Baking, "bake again", lambda one: (one.id,)),
    "baked/{}.json".format,
)


class Bakery(Lifecycle[Baking]):
    """Their life."""

    def __init__(self, storage: Storage, redis: Redis, settings: Settings) -> None:
        super().__init__(storage, redis, settings, PLACES)
        self.cleared: list[str] = []

    def enqueue(self, record: Baking) -> None:
        """On a queue that there is."""
        self.queues.enqueue_inspection(record.id)

    def clear(self, record: Baking) -> None:
        """Note it."""
        self.cleared.append(record.id)

    def give_up(self, record: Baking) -> None:
        """It is burnt."""
        self.conclude(record.model_copy(update={"status": State.BURNT}))

    def as_canceled(self, record: Baking) -> Baking:
        """As it says."""
        return record.model_copy(update={"status": State.CANCELED})

    def too_late(self, record: Baking) -> str:
        """As it says."""
        return f"it is {record.status}"

    def unknown(self) -> NotFound:
        """No such baking."""
        return NotFound("baking_unknown", "there is no such baking")

    def fingerprint(self, record: Baking) -> str | None:
        """Of what was asked for."""
        return record.body


@pytest.fixture
def bakery(storage: Storage, redis: Redis, settings: Settings) -> Bakery:
    return Bakery(storage, redis, settings)


def begun(bakery: Bakery, key: str | None = None) -> Baking:
    baking = Baking(id=id_for(key, salt="bakings"))
    assert bakery.begin(baking) is None
    bakery.queue(baking)
    return baking


def done(baking: Baking) -> Baking:
    return baking.model_copy(update={"status": State.DONE})


def look_again(bakery: Bakery, redis: Redis) -> None:
    bakery.bring_back(set(bakery.records.waiting()), look(redis, [INTAKE]))


def test_it_lives_from_its_acceptance_to_its_end(bakery: Bakery, storage: Storage, redis: Redis) -> None:
    baking = begun(bakery)
    assert bakery.to_do(baking.id) == bakery.known(baking.id) == baking
    assert bakery.conclude(done(baking)) and not bakery.conclude(bakery.as_canceled(baking))
    assert bakery.known(baking.id) == bakery.latest(baking.id) == done(baking) and bakery.to_do(baking.id) is None
    assert list(storage.keys("bakings")) == [] and bakery.cleared == [baking.id]
    said = [fields[b"data"] for _, fields in redis.xrange(f"radiata:events:{baking.id}")]  # type: ignore[union-attr]
    assert said == [b'{"status": "waiting"}', b'{"status": "done"}']


def test_of_all_who_would_end_it_one_does(bakery: Bakery) -> None:
    baking = begun(bakery)
    ends = [done(baking), bakery.as_canceled(baking), baking.model_copy(update={"status": State.BURNT})]
    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(bakery.conclude, ends)) == [False, False, True]


def test_canceling_is_true_or_refused(bakery: Bakery) -> None:
    early, late = begun(bakery), begun(bakery)
    assert bakery.withdraw(early.id).status is State.CANCELED and bakery.queues.job(early.id) is None
    assert bakery.withdraw(early.id).status is State.CANCELED
    bakery.conclude(done(late))
    with pytest.raises(Conflict, match="it is done"):
        bakery.withdraw(late.id)
    with pytest.raises(NotFound):
        bakery.withdraw("f" * 32)
    with pytest.raises(NotFound):
        bakery.known("../f")


def test_a_key_means_one_job(bakery: Bakery) -> None:
    baking = begun(bakery, "key")
    assert bakery.begin(baking.model_copy(update={"status": State.DONE})) == baking
    with pytest.raises(Conflict):
        bakery.begin(baking.model_copy(update={"body": "another"}))


def redis_emptied(bakery: Bakery, redis: Redis, baking: Baking) -> None:
    redis.flushall()


def never_queued(bakery: Bakery, redis: Redis, baking: Baking) -> None:
    bakery.queues.drop(baking.id)


def died_on_every_try(bakery: Bakery, redis: Redis, baking: Baking) -> None:
    job = bakery.queues.job(baking.id)
    assert job
    job.set_status(JobStatus.FAILED)
    bakery.queues.of(INTAKE).remove(baking.id)


def nobody_told(bakery: Bakery, redis: Redis, baking: Baking) -> None:
    def gone(*_: object) -> None:
        raise RedisConnectionError("gone")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RedisConnectionError):
        patch.setattr(bakery, "_announce", gone)
        bakery.conclude(done(baking))
    bakery.queues.drop(baking.id)


@pytest.mark.parametrize(
    ("happened", "becomes"),
    [
        (redis_emptied, State.WAITING),
        (never_queued, State.WAITING),
        (died_on_every_try, State.BURNT),
        (nobody_told, State.DONE),
    ],
)
def test_nothing_accepted_is_lost(
    bakery: Bakery, redis: Redis, happened: Callable[[Bakery, Redis, Baking], None], becomes: State
) -> None:
    baking = begun(bakery)
    happened(bakery, redis, baking)
    for _ in range(2):
        look_again(bakery, redis)
    assert bakery.known(baking.id).status is becomes
    assert bakery.queues.of(INTAKE).get_job_ids() == ([baking.id] if becomes is State.WAITING else [])
    assert list(bakery.records.waiting()) == ([baking.id] if becomes is State.WAITING else [])


def test_nobody_answers_by_a_record_that_a_power_cut_can_take(
    bakery: Bakery, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 4: it can be read before its folder is flushed; its writer was told of an error, and may have died."""
    flush, broken = local_store._flush_folder, False

    def flushed(folder: str) -> None:
        if broken:
            raise OSError(errno.EIO, "the disk is broken")
        flush(folder)

    monkeypatch.setattr(local_store, "_flush_folder", flushed)
    before, one = Baking(id=id_for(None)), Baking(id=id_for("key"))
    bakery.begin(before)  # makes the folders
    bakery.withdraw(before.id)
    repeats: list[Callable[[], object]] = [
        lambda: bakery.begin(one),
        lambda: bakery.earlier("key", one.body),
        lambda: bakery.withdraw(one.id),
        lambda: bakery.close_again(one.id),
    ]
    for step in (repeats[:2], repeats[2:]):
        broken = True
        for _ in range(2):
            for repeat in step:
                with pytest.raises(Unavailable):
                    repeat()
        broken = False
        assert bakery.earlier("key", one.body) and storage.exists(PLACES.pending_key(one.id))
    storage.delete(PLACES.pending_key(one.id))  # the end alone is left to answer by
    broken = True
    with pytest.raises(Unavailable):
        bakery.withdraw(one.id)
    broken = False
    assert bakery.withdraw(one.id).status is State.CANCELED and bakery.close_again(one.id)
