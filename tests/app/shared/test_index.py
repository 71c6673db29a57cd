"""Redis is a copy: whichever of its keys is lost, at whatever moment, the list is what storage has."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from redis import Redis

from app.shared.errors import NotFound
from app.shared.generations import Ledger
from app.shared.index import INDEX, WHOLE, index_key, moment
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.app.shared.making import request


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


def pages(ledger: Ledger, limit: int) -> list[str]:
    seen, cursor = [], None
    while True:
        page, cursor = ledger.list(limit, cursor)
        seen += [one.id for one in page]
        if cursor is None:
            return seen


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_lost_the_list_is_the_same(ledger: Ledger, redis: Redis, seed: int) -> None:
    chance = random.Random(seed)
    made: list[str] = []
    for _ in range(40):
        for key in redis.keys("*"):  # type: ignore[union-attr]
            if chance.random() < 0.3:
                redis.delete(key)
        if chance.random() < 0.1:
            redis.flushall()
        if chance.random() < 0.5 or not made:
            made.insert(0, ledger.accept(request()).id)
        elif chance.random() < 0.3:
            ledger.cancel(chance.choice(made)) if len(made) > 5 else None
        assert set(pages(ledger, chance.randint(1, 7))) == set(made)


def test_order_is_that_of_acceptance_also_when_it_is_rebuilt(ledger: Ledger, redis: Redis) -> None:
    made = [ledger.accept(request()).id for _ in range(40)]  # of which some are of one millisecond
    order = pages(ledger, 5)
    assert order == made[::-1]
    for one in made[::3]:
        ledger.cancel(one)
    redis.flushall()
    assert pages(ledger, 5) == order


def test_an_idempotency_key_decides_no_place_in_the_list(ledger: Ledger, redis: Redis) -> None:
    # Of one hash in eighty the beginning could be read as a time
    made = [ledger.accept(request(), idempotency_key=f"key {n}", fingerprint="body").id for n in range(400)]
    assert pages(ledger, 100) == made[::-1]
    redis.flushall()
    assert set(pages(ledger, 100)[:2]) & set(made[:-40]) == set(), "an old one stands among the newest"


def test_a_hash_of_version_0_1_that_begins_like_a_time_to_come_is_no_time() -> None:
    told = datetime.fromtimestamp(1_790_000_000, UTC)
    for ahead, moved in ((60, True), (30 * 365 * 86_400, False)):
        made = f"{int((told.timestamp() + ahead) * 1000):012x}{'0' * 20}"
        assert moment(made, told) == told.timestamp() + (ahead if moved else 0)


def test_a_rebuild_is_done_once_and_is_not_waited_for_long(
    ledger: Ledger, redis: Redis, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {ledger.accept(request()).id for _ in range(5)}
    redis.flushall()
    looks = 0
    keys = storage.keys

    def counted(prefix: str):  # type: ignore[no-untyped-def]
        nonlocal looks
        looks += prefix == "pending"
        return keys(prefix)

    monkeypatch.setattr(storage, "keys", counted)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: {one.id for one in ledger.list(10, None)[0]}, range(16)))
    assert answers == [made] * 16
    assert looks <= 2, "the rebuild, and at most one look for those who would not wait"


def test_what_is_lost_while_it_is_rebuilt_makes_no_half_list_whole(
    ledger: Ledger, redis: Redis, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {ledger.accept(request()).id for _ in range(3)}
    redis.flushall()
    keys = storage.keys

    def evicted(prefix: str):  # type: ignore[no-untyped-def]
        yield from keys(prefix)
        if prefix == "pending":
            redis.delete(INDEX)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "keys", evicted)
        assert set(pages(ledger, 10)) == made
    assert redis.zscore(INDEX, WHOLE) is None
    assert set(pages(ledger, 10)) == made
    assert redis.zscore(INDEX, WHOLE) is not None


def test_what_is_accepted_while_it_is_rebuilt_is_in_it(
    ledger: Ledger, redis: Redis, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [ledger.accept(request()).id]
    redis.flushall()
    keys = storage.keys

    def busy(prefix: str):  # type: ignore[no-untyped-def]
        yield from keys(prefix)
        made.append(ledger.accept(request()).id)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "keys", busy)
        ledger.list(10, None)
    assert set(pages(ledger, 10)) == set(made)


def test_a_cursor_of_nobody_is_refused_with_redis_and_without(ledger: Ledger, redis: Redis) -> None:
    ledger.accept(request())
    for _ in range(2):
        with pytest.raises(NotFound):
            ledger.list(2, "f" * 32)
        redis.flushall()


def test_a_key_that_is_no_record_of_ours_is_passed_over(ledger: Ledger, redis: Redis, storage: Storage) -> None:
    made = ledger.accept(request()).id
    storage.put("pending/notes.txt", b"somebody's")
    storage.put("generations/x/manifest.json", b"{}")
    redis.flushall()
    assert pages(ledger, 10) == [made]


def test_a_list_of_an_owner_who_has_nothing_does_not_stay_in_redis(
    storage: Storage, redis: Redis, settings: Settings
) -> None:
    nobody, ada = (Ledger(storage, redis, settings, owner) for owner in ("nobody", "ada"))
    made = ada.accept(request()).id
    assert pages(nobody, 5) == [] and pages(ada, 5) == [made]
    assert redis.ttl(index_key("nobody")) > 0 > redis.ttl(index_key("ada"))  # type: ignore[operator]
