"""What was used is counted once, whoever dies, comes twice, deletes, or empties Redis; sums are those of manifests."""

import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis

from app.outgoing.gathering import TASK, Gathering
from app.shared.collecting import Collecting
from app.shared.errors import Gone, Unavailable
from app.shared.generations import Ledger
from app.shared.index_database import IndexDatabase
from app.shared.segments import EARLY, ENDED, Entry, Segments
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.trainings import Trainings
from app.shared.usage import Usage, total
from app.shared.wire.generation import Image, Status
from app.shared.wire.training import TrainingProgress
from app.shared.wire.usage import Used
from tests.app.shared.making import request, training_request

TODAY = datetime.now(UTC).date()
PICTURE = Image(index=0, url="/", seed=7, width=64, height=64, sha256="a" * 64, size_bytes=100)
DONE = {"status": Status.SUCCEEDED, "images": [PICTURE], "device_seconds": 1.5}


def days_later() -> datetime:
    return datetime.now(UTC) + timedelta(days=9)


@pytest.fixture
def storage() -> Storage:
    return Storage("memory:///")


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


def ended(ledger: Ledger, count: int = 1) -> list[str]:
    """So many that have ended, each with a picture of 100 bytes and 1.5 s of a device."""
    ids = []
    for _ in range(count):
        one = ledger.accept(request())
        ledger.finish(one.model_copy(update=DONE))
        ids.append(one.id)
    return ids


def gather(ledger: Ledger, lines: int = 2) -> None:
    Gathering(ledger, lines=lines).run(TASK, lambda: None)


def told(ledger: Ledger, storage: Storage) -> tuple[int, float, int, int]:
    """Of all owners and days: generations, seconds, pictures, bytes."""
    sums = total(Usage(storage, ledger.following).days(None))
    return sums.generations, sums.device_seconds, sums.pictures, sums.size_bytes


def elsewhere(ledger: Ledger, storage: Storage, redis: Redis, settings: Settings, folder: Path) -> Ledger:
    """A machine that has never read anything."""
    return Ledger(storage, redis, settings.model_copy(update={"data_dir": folder}))


def test_each_end_is_counted_once_gathered_or_not_deleted_or_not(
    ledger: Ledger, storage: Storage, redis: Redis, settings: Settings, tmp_path: Path
) -> None:
    ids = ended(ledger, 5)
    assert told(ledger, storage) == (5, 7.5, 5, 500)
    gather(ledger)
    assert told(ledger, storage) == (5, 7.5, 5, 500)
    noted = {key.rpartition("/")[2] for key in storage.keys(ENDED)}
    early = next(one for one in ids if one in noted)
    late = next(one for one in ids if one not in noted)
    for number, one in enumerate((early, late)):
        ledger.delete(one)
        assert told(ledger, storage) == (5, 7.5, 5, 500)
        new = elsewhere(ledger, storage, redis, settings, tmp_path / f"before {number}")
        assert told(new, storage) == (5, 7.5, 5, 500)
    for turn in range(2):
        gather(ledger, 1)
        redis.flushdb()
        new = elsewhere(ledger, storage, redis, settings, tmp_path / f"{turn}")
        assert told(ledger, storage) == told(new, storage) == (5, 7.5, 5, 500)
    assert not [*storage.keys(EARLY)] and not [*storage.keys(ENDED)]


def test_a_file_that_fails_is_told_as_away(ledger: Ledger, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    ended(ledger)
    monkeypatch.setattr(IndexDatabase, "count", full)
    with pytest.raises(Unavailable, match="disk is full"):
        Usage(storage, ledger.following).days(None)


def test_a_week_after_a_deletion_it_is_still_counted(
    ledger: Ledger, storage: Storage, redis: Redis, settings: Settings, tmp_path: Path
) -> None:
    (one,) = ended(ledger)
    ledger.delete(one)
    Collecting(storage, redis, settings, days_later).run()
    assert not [*storage.keys("deleted")]
    assert told(elsewhere(ledger, storage, redis, settings, tmp_path), storage) == (1, 1.5, 1, 100)


class Mortal(Storage):
    """Dies at one of its writes: `left` is how many come before."""

    left = 0

    def _dies(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Unavailable("killed", "here")

    def put(self, key: str, data: bytes | Path) -> None:
        self._dies()
        super().put(key, data)

    def create(self, key: str, data: bytes) -> bool:
        self._dies()
        return super().create(key, data)

    def delete(self, key: str) -> None:
        self._dies()
        super().delete(key)


@pytest.mark.parametrize("kill_at", range(1, 12))
def test_whoever_dies_at_any_write_counts_nothing_twice_and_nothing_not(
    kill_at: int, redis: Redis, settings: Settings, tmp_path: Path
) -> None:
    """Each of ending, deleting and gathering is killed at each of its writes, and done again by who comes after."""
    storage = Mortal("memory:///")
    ledger = Ledger(storage, redis, settings)
    one = ledger.accept(request())
    done = one.model_copy(update=DONE)
    acts: list[Callable[[], object]] = [
        lambda: ledger.finish(done) or ledger.close_again(one.id),
        lambda: ledger.delete(one.id),
        lambda: gather(ledger, 1),
    ]
    for act in acts:
        storage.left = kill_at
        with suppress(Unavailable):
            act()
        storage.left = 0
        with suppress(Gone):
            act()
    new = elsewhere(ledger, storage, redis, settings, tmp_path)
    assert told(new, storage) == told(ledger, storage) == (1, 1.5, 1, 100)


@pytest.mark.parametrize("kill_at", range(1, 7))
def test_what_is_collected_after_a_death_was_used_all_the_same(
    kill_at: int, redis: Redis, settings: Settings, tmp_path: Path
) -> None:
    storage = Mortal("memory:///")
    ledger = Ledger(storage, redis, settings)
    (one,) = ended(ledger)
    storage.left = kill_at
    with suppress(Unavailable):
        ledger.delete(one)
    storage.left = 0
    Collecting(storage, redis, settings, lambda: datetime.now(UTC) + timedelta(hours=2)).run()
    new = elsewhere(ledger, storage, redis, settings, tmp_path)
    assert told(new, storage) == told(ledger, storage) == (1, 1.5, 1, 100)


def test_a_key_that_is_used_again_is_another_generation(
    ledger: Ledger, storage: Storage, redis: Redis, settings: Settings
) -> None:
    for turn in range(1, 3):
        one = ledger.accept(request(), idempotency_key="again")
        ledger.finish(one.model_copy(update={"status": Status.FAILED, "device_seconds": 2.0}))
        gather(ledger, 1)
        ledger.delete(one.id)
        gather(ledger, 1)
        Collecting(storage, redis, settings, days_later).run()
        assert told(ledger, storage)[:2] == (turn, 2.0 * turn)


def test_what_was_canceled_has_used_what_its_worker_had_told(ledger: Ledger, storage: Storage) -> None:
    one = ledger.accept(request())
    ledger.start(one.id)
    ledger.step(one.id, 2, 3, device_ms=1234)
    assert ledger.get(one.id).device_seconds == 1.234
    ledger.cancel(one.id)
    assert told(ledger, storage) == (1, 1.234, 0, 0)


def test_days_are_told_by_owner_from_one_to_another(storage: Storage, redis: Redis, settings: Settings) -> None:
    """Against sums made here, of segments by chance."""
    chance, sums = random.Random(7), {}
    segments = Segments(storage)
    first = date(2026, 11, 1)
    for _ in range(5):
        entries = []
        for _ in range(200):
            day, owner = first + timedelta(days=chance.randrange(5)), chance.choice(["", "ada", "bob"])
            used = Used(day=day, device_ms=chance.randrange(10_000), pictures=chance.randrange(5), size_bytes=7)
            when = datetime.combine(day, datetime.min.time(), UTC)
            entry = Entry(id=f"{chance.randrange(2**128):032x}", owner=owner, created_at=when, used=used)
            entries.append(entry if chance.random() < 0.5 else entry.deleted(when))
            before = sums.setdefault((day, owner or "first"), [0, 0, 0])
            sums[day, owner or "first"] = [before[0] + 1, before[1] + used.device_ms, before[2] + used.pictures]
        segments.write("2026-11-09", entries)
        segments.write("2026-11-09", entries[:20])  # which came twice
    segments.adopt()
    usage = Usage(storage, Ledger(storage, redis, settings).following)
    found = {
        (one.day, one.owner): [one.generations, round(one.device_seconds * 1000), one.pictures]
        for one in usage.days(None)
    }
    assert found == sums
    some = usage.days("ada", first + timedelta(days=1), first + timedelta(days=2))
    assert [(one.day.day, one.owner) for one in some] == [(2, "ada"), (3, "ada")]


def test_trainings_count_the_steps_that_they_made_themselves_also_once_removed(
    storage: Storage, redis: Redis, settings: Settings
) -> None:
    ledger = Ledger(storage, redis, settings)
    settings = settings.model_copy(update={"accept_without_worker_s": -1})
    trainings = Trainings(storage, redis, settings)
    first = trainings.accept(training_request())
    trainings.start(first.id)
    progress = TrainingProgress(step=20, steps=40, trained_steps=20, device_seconds=3.0)
    trainings.tell(first.id, progress)
    trainings.cancel(first.id)
    second = trainings.accept(training_request(continues=first.id))
    trainings.start(second.id)
    trainings.courses.taken_over(first.id, second.id, 20)
    trainings.courses.saved(second.id, 35, 0.5, b"adapter", device_seconds=4.0)
    redis.flushdb()  # with the progress
    trainings.cancel(second.id)
    usage = Usage(storage, ledger.following)
    (day,) = usage.days(None)
    assert (day.trainings, day.trained_steps, day.device_seconds) == (2, 35, 7.0)
    for one in (second, first):
        trainings.clear_away(one.id)
    (day,) = usage.days(None)
    assert (day.trainings, day.trained_steps, day.device_seconds) == (2, 35, 7.0)


def test_twenty_thousand_are_told_as_fast_as_a_few(storage: Storage, redis: Redis, settings: Settings) -> None:
    segments, when = Segments(storage), datetime.now(UTC)
    at = round(when.timestamp() * 1000) - 30_000
    used = Used(day=TODAY, device_ms=5, pictures=1, size_bytes=10)
    usage = Usage(storage, Ledger(storage, redis, settings).following)
    for number in range(20):
        entries = [
            Entry(id=f"{at + number * 1000 + one:012x}{one:020x}", created_at=when, used=used) for one in range(1000)
        ]
        segments.write(TODAY.isoformat(), entries)
    segments.adopt()
    assert usage.days(None)[0].generations == 20_000
    begun = time.perf_counter()
    assert usage.days("")[0].device_seconds == 100
    assert time.perf_counter() - begun < 0.5
