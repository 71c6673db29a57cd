"""Ends come into segments, deletions out of them, and what nobody noted is found."""

from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import pytest
from redis import Redis

from app.outgoing.gathering import TASK, Gathering
from app.shared import following
from app.shared.errors import Unavailable
from app.shared.generation_keys import manifest_key
from app.shared.generations import Ledger
from app.shared.index import INDEX, WHOLE
from app.shared.segments import ENDED, SEGMENTS
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wanted import Wanted
from app.shared.wire.generation import Status
from tests.app.shared.making import request


@pytest.fixture
def storage() -> Storage:
    return Storage("memory:///")


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


def ended(ledger: Ledger, count: int, prompt: str = "a red apple") -> list[str]:
    """So many that have ended, newest first."""
    made = [ledger.accept(request(prompt=f"{prompt} {number}")) for number in range(count)]
    for one in made:
        ledger.finish(one.model_copy(update={"status": Status.SUCCEEDED}))
    return [one.id for one in made][::-1]


def gather(ledger: Ledger, lines: int = 2) -> None:
    Gathering(ledger, lines=lines).run(TASK, lambda: None)


def listed(ledger: Ledger, wanted: Wanted = Wanted()) -> list[str]:
    return [one.id for one in ledger.list(50, None, wanted)[0]]


def segments(storage: Storage) -> list[str]:
    return sorted(key.rpartition("/")[2] for key in storage.keys(SEGMENTS))


def another(storage: Storage, redis: Redis, settings: Settings, folder: Path) -> Ledger:
    """A process of another machine."""
    return Ledger(storage, redis, settings.model_copy(update={"data_dir": folder}))


def test_many_ends_are_one_object_and_leave_redis(ledger: Ledger, storage: Storage, redis: Redis) -> None:
    ids = ended(ledger, 5)
    gather(ledger)
    day = datetime.now(UTC).date().isoformat()
    assert segments(storage) == [f"{day}-1.jsonl", f"{day}-2.jsonl"]
    (left,) = storage.keys(ENDED)
    few = {one.decode() for one in redis.zrange(INDEX, 0, -1)}  # type: ignore[union-attr]
    assert few - {WHOLE} == {left.rpartition("/")[2]}
    assert listed(ledger) == listed(ledger, Wanted(q="Apple")) == ids
    assert listed(ledger, Wanted(q="apple 3", status=Status.SUCCEEDED)) == [ids[1]]


def test_of_what_is_deleted_no_segment_says_anything(
    ledger: Ledger, storage: Storage, redis: Redis, settings: Settings, tmp_path: Path
) -> None:
    kept, gone = ended(ledger, 3), ended(ledger, 3, "secret")
    gather(ledger, 3)
    there = another(storage, redis, settings, tmp_path / "there")
    assert listed(there) == [*gone, *kept]
    for one in gone[:2]:
        ledger.delete(one)
    gather(ledger)
    texts = b"".join(storage.get(f"{SEGMENTS}/{name}") or b"" for name in segments(storage))
    assert texts.count(b"secret") == 1 and len(segments(storage)) == 2
    for process in (ledger, there, another(storage, redis, settings, tmp_path / "new")):
        assert listed(process) == [gone[2], *kept] and listed(process, Wanted(q="secret")) == [gone[2]]
        assert [one.id for one in process.list(2, gone[1])[0]] == [gone[2], kept[0]], "a cursor that was deleted"


def test_lines_that_came_twice_are_forgotten_twice(
    ledger: Ledger, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gathers dies before the notes go; whoever takes a deletion out, before the old segment goes."""
    kept, gone = ended(ledger, 1), ended(ledger, 1, "secret")
    with monkeypatch.context() as patch:
        patch.setattr(ledger.following.segments, "taken", lambda _: None)
        gather(ledger)
    gather(ledger)
    ledger.delete(gone[0])
    with monkeypatch.context() as patch:
        patch.setattr(ledger.following.segments, "delete", lambda _: None)
        gather(ledger)
    assert len(segments(storage)) >= 3
    gather(ledger)
    assert not any(b"secret" in (storage.get(key) or b"") for key in storage.keys(SEGMENTS))
    assert listed(ledger) == kept


def test_a_mark_of_an_earlier_life_takes_nothing_out(ledger: Ledger, storage: Storage) -> None:
    first = ledger.accept(request(), idempotency_key="once")
    ledger.cancel(first.id)
    ledger.delete(first.id)
    storage.delete(manifest_key(first.id))  # a week later; who did that died before the mark went
    again = ledger.accept(request(), idempotency_key="once")
    ledger.cancel(again.id)
    for _ in range(2):
        gather(ledger, 1)
    assert listed(ledger) == [again.id]


def test_what_ended_before_there_were_segments_is_found(
    ledger: Ledger, storage: Storage, redis: Redis, settings: Settings, tmp_path: Path
) -> None:
    ids = ended(ledger, 4)
    for key in [*storage.keys("unindexed"), *storage.keys(SEGMENTS)]:
        storage.delete(key)
    redis.flushall()
    old = another(storage, redis, settings, tmp_path / "old")
    assert listed(old) == ids == listed(old, Wanted(model="emoji-64"))
    late = ended(ledger, 1)
    storage.delete(f"{ENDED}/{late[0]}")  # as code without segments ends it
    redis.flushall()
    gather(ledger, 99)
    assert listed(old) == [*late, *ids]


def test_a_record_that_cannot_be_read_waits_for_who_can(ledger: Ledger, storage: Storage, redis: Redis) -> None:
    ids = ended(ledger, 2)
    text = storage.get(manifest_key(ids[0])) or b""
    storage.put(manifest_key(ids[0]), b"")
    redis.delete(f"radiata:live:{ids[0]}")
    gather(ledger)
    assert listed(ledger) == [ids[1]]
    storage.put(manifest_key(ids[0]), text)
    assert listed(ledger) == ids == listed(ledger, Wanted(seed=7))


def test_nobody_waits_long_for_an_index_that_is_made(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = ended(ledger, 3)
    gather(ledger, 1)
    asked = Event()
    with monkeypatch.context() as patch:
        patch.setattr(following, "FEW", 0)
        patch.setattr(following, "PATIENCE_S", 0.0)
        patch.setattr(ledger.following.database, "segments", set)
        patch.setattr(ledger.following.database, "take", lambda *_: asked.wait(30) and None)
        ledger.following.tell()
        with pytest.raises(Unavailable, match="being made"):
            ledger.list(5, None)
        asked.set()
    assert sorted(listed(ledger)) == sorted(ids)
