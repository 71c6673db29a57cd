"""Prefetch brings in what waits next, nearest first, within the budget, and never in anybody's way."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from app.shared.catalog import file_key
from app.shared.errors import RadiataError, Unavailable
from app.shared.generations import Ledger
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.adapter import ResolvedAdapter
from app.shared.wire.generation import Priority
from tests.app.shared.making import MODEL, request
from tests.workers.adapters.test_cache import stored
from tests.workers.toy import adapter
from workers.adapters.cache import AdapterCache
from workers.adapters.prefetch import Prefetcher

RANK = 512  # large beside a header
ONE = len(adapter(0, RANK))
PATIENCE_S = 30
AHEAD = 8


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


@pytest.fixture
def cache(storage: Storage) -> AdapterCache:
    return AdapterCache(storage, 100 * ONE)


@pytest.fixture
def new_use(storage: Storage) -> Callable[[int], ResolvedAdapter]:
    return lambda seed: stored(storage, adapter(seed, RANK))


def prefetcher(cache: AdapterCache, ledger: Ledger, ahead: int = AHEAD) -> Prefetcher:
    """One that looks only when it is told to."""
    one = Prefetcher(cache, ledger, MODEL, ahead)
    one._drawing.set()
    return one


def queue(ledger: Ledger, *stacks: list[ResolvedAdapter]) -> list[str]:
    return [ledger.accept(request(adapters=stack)).id for stack in stacks]


def ids(*adapters: ResolvedAdapter) -> set[str]:
    return {one.sha256 for one in adapters}


Make = Callable[[int], ResolvedAdapter]


def test_what_waits_is_in_memory_before_it_is_asked_for(cache: AdapterCache, ledger: Ledger, new_use: Make) -> None:
    a, b, c = map(new_use, range(3))
    queue(ledger, [a, b], [], [c, a])
    prefetcher(cache, ledger).look()
    assert cache.resident == ids(a, b, c)
    cache.pin([a, b])
    cache.pin([c, a])
    figures = cache.counters.take()
    assert figures["prefetch_loads"] == figures["prefetch_hits"] == 3
    assert (figures["adapter_tier_hits:memory"], figures["adapter_tier_misses:memory"]) == (4, 0)


def test_it_looks_so_far_and_no_further(cache: AdapterCache, ledger: Ledger, new_use: Make) -> None:
    a, b, c = map(new_use, range(3))
    queue(ledger, [a], [b], [c])
    prefetcher(cache, ledger, ahead=2).look()
    assert cache.resident == ids(a, b)


def test_it_looks_at_the_more_urgent_first(cache: AdapterCache, ledger: Ledger, new_use: Make) -> None:
    a, b, c = map(new_use, range(3))
    for entry, priority in zip((c, b, a), get_args(Priority), strict=True):  # high, normal, low
        ledger.accept(request(adapters=[entry]), priority=priority)
    prefetcher(cache, ledger, ahead=2).look()
    assert cache.resident == ids(b, c)


def test_what_is_pinned_and_what_is_nearer_stay(storage: Storage, ledger: Ledger, new_use: Make) -> None:
    cache = AdapterCache(storage, 3 * ONE)
    old, pinned, a, b, c, d = map(new_use, range(6))
    cache.get(old)
    cache.pin([pinned])
    queue(ledger, [a], [b, c], [d])
    prefetcher(cache, ledger).look()
    assert cache.resident == ids(pinned, a, b), "room for two beside what is pinned"
    assert cache.nbytes <= 3 * ONE
    assert cache.counters.take()["prefetch_loads"] == 2, "what does not fit is not fetched"


def test_the_nearest_are_fetched_first(
    cache: AdapterCache, ledger: Ledger, new_use: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    really = AdapterCache._fetch
    monkeypatch.setattr(
        AdapterCache, "_fetch", lambda self, one, pauses: fetched.append(one.sha256) or really(self, one, pauses)
    )
    a, b, c = map(new_use, range(3))
    queue(ledger, [c, a], [b, c])
    prefetcher(cache, ledger).look()
    assert fetched == [c.sha256, a.sha256, b.sha256]


def test_one_too_large_for_what_room_there_is_does_not_stop_the_rest(
    storage: Storage, ledger: Ledger, new_use: Make
) -> None:
    cache = AdapterCache(storage, 2 * ONE)
    large, a = stored(storage, adapter(9, 3 * RANK)), new_use(0)
    queue(ledger, [large], [a])
    prefetcher(cache, ledger).look()
    assert cache.resident == ids(a)
    assert cache.get(large).sha256 == large.sha256


def test_what_failed_is_left_to_the_generation_and_stops_nothing(
    cache: AdapterCache, ledger: Ledger, new_use: Make, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, spoilt, away, a = map(new_use, range(4))
    storage.delete(file_key(gone.sha256))
    storage.put(file_key(spoilt.sha256), adapter(4, RANK))
    really, tries = Storage.get, []

    def get(self: Storage, key: str) -> bytes | None:
        if key == file_key(away.sha256) and not tries:
            tries.append(key)
            raise Unavailable("storage_unavailable", "no storage")
        return really(self, key)

    monkeypatch.setattr(Storage, "get", get)
    queue(ledger, [gone], [spoilt], [away], [a])
    prefetcher(cache, ledger).look()
    assert cache.resident == ids(a)
    assert cache.counters.take()["prefetch_failures"] == 2, "one that is not there at all is not fetched"
    assert cache.get(away).sha256 == away.sha256
    with pytest.raises(RadiataError) as refusal:
        cache.get(spoilt)
    assert refusal.value.code == "adapter_corrupt"


def test_a_queue_that_does_not_answer_is_no_matter(
    cache: AdapterCache, ledger: Ledger, new_use: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue(ledger, [new_use(0)])
    one = prefetcher(cache, ledger)

    def fails(*_: object) -> None:
        raise RedisConnectionError("no queue")

    with monkeypatch.context() as patch:
        patch.setattr(one, "_waiting", fails)
        one.look()
    assert cache.resident == frozenset()
    one.look()
    assert len(cache.resident) == 1


def test_a_generation_that_came_meanwhile_is_seen_and_one_that_ended_is_not(
    cache: AdapterCache, ledger: Ledger, new_use: Make
) -> None:
    a, b = map(new_use, range(2))
    one = prefetcher(cache, ledger)
    one.look()
    (canceled,) = queue(ledger, [a])
    ledger.cancel(canceled)
    queue(ledger, [b])
    one.look()
    assert cache.resident == ids(b)


def test_what_was_brought_in_and_dropped_again_is_counted_as_wasted(
    storage: Storage, ledger: Ledger, new_use: Make
) -> None:
    cache = AdapterCache(storage, ONE)
    a, b = map(new_use, range(2))
    queue(ledger, [a])
    prefetcher(cache, ledger).look()
    cache.get(b)
    cache.get(a)
    figures = cache.counters.take()
    assert figures["prefetch_wasted"] == 1 and "prefetch_hits" not in figures


# The thread


@pytest.fixture
def running(cache: AdapterCache, ledger: Ledger) -> Iterator[Prefetcher]:
    one = Prefetcher(cache, ledger, MODEL, AHEAD)
    yield one
    one.close()
    if one._thread:
        one._thread.join(PATIENCE_S)
        assert not one._thread.is_alive()


def until(what: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_it_works_while_something_is_drawn_and_rests_otherwise(
    cache: AdapterCache, ledger: Ledger, new_use: Make, running: Prefetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[float] = []
    really = Prefetcher.look
    monkeypatch.setattr(Prefetcher, "look", lambda self: looked.append(time.monotonic()) or really(self))
    a, b = map(new_use, range(2))
    queue(ledger, [a])
    time.sleep(0.1)
    assert looked == [] and cache.resident == frozenset()
    running.begin()
    until(lambda: cache.resident == ids(a))
    queue(ledger, [b])
    until(lambda: cache.resident == ids(a, b))


def test_a_generation_joins_the_fetch_that_is_under_way(
    cache: AdapterCache, ledger: Ledger, new_use: Make, running: Prefetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go_on, fetched = threading.Event(), threading.Event(), []
    really = AdapterCache._fetch

    def fetch(self: AdapterCache, one: ResolvedAdapter, pauses: Any) -> bytes:
        fetched.append(one.sha256)
        entered.set()
        go_on.wait(PATIENCE_S)
        return really(self, one, pauses)

    monkeypatch.setattr(AdapterCache, "_fetch", fetch)
    a = new_use(0)
    queue(ledger, [a])
    running.begin()
    assert entered.wait(PATIENCE_S)
    threading.Timer(0.1, go_on.set).start()
    running.rest()
    assert cache.pin([a])[0].sha256 == a.sha256
    assert fetched == [a.sha256]
    assert cache.counters.take()["prefetch_late"] == 1


def test_it_begins_no_file_once_it_rests(
    cache: AdapterCache, ledger: Ledger, new_use: Make, running: Prefetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = AdapterCache._fetch

    def fetch(self: AdapterCache, one: ResolvedAdapter, pauses: Any) -> bytes:
        running.rest()
        return really(self, one, pauses)

    monkeypatch.setattr(AdapterCache, "_fetch", fetch)
    a, b = map(new_use, range(2))
    queue(ledger, [a], [b])
    running.begin()
    until(lambda: cache.resident)
    time.sleep(0.1)
    assert cache.resident == ids(a)
