"""What is deleted is gone whole, whoever dies at whatever step, and nothing rises again."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from app.shared import lifecycle
from app.shared.accepted import TOLD_FOR
from app.shared.errors import Conflict, Gone, NotFound, Unavailable
from app.shared.generation_keys import image_key, manifest_key, pending_key
from app.shared.generations import Ledger
from app.shared.lifecycle import live_key, now
from app.shared.owners import owned_generation_key
from app.shared.records import deleted_key
from app.shared.settings import Settings
from app.shared.stars import star_key
from app.shared.storage import Storage
from app.shared.wire.generation import Generation, Status
from tests.app.shared.making import request

WRITING = ("put", "create", "delete", "copy")


class Died(BaseException):
    """Whoever was at it was killed."""


class Dying:
    """A store whose user dies right before the k-th thing that it would change, or is told something from then on."""

    def __init__(self, storage: Storage, k: int, how: BaseException | None = None) -> None:
        self._storage, self.left, self._how = storage, k, how or Died()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        if name not in WRITING:
            return found

        def change(*given: Any) -> Any:
            if self.left == 0:
                raise self._how
            self.left -= 1
            return found(*given)

        return change


class Between(Dying):
    """A store with which somebody else does something right before the k-th thing that its user changes."""

    def __init__(self, storage: Storage, k: int, act: Callable[[], None]) -> None:
        super().__init__(storage, k)
        self._act = act

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        if name not in WRITING:
            return found

        def change(*given: Any) -> Any:
            self.left -= 1
            if self.left == -1:
                self._act()
            return found(*given)

        return change


@pytest.fixture
def settings(settings: Settings, elsewhere: str | None) -> Settings:
    return settings.model_copy(update={"storage_url": elsewhere})


@pytest.fixture(params=["", "ada"])
def ledger(request: pytest.FixtureRequest, storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings, request.param or None)


def ended(ledger: Ledger, storage: Storage, status: Status = Status.SUCCEEDED) -> Generation:
    """A generation that has ended, with two pictures and a star."""
    one = ledger.accept(request(count=2))
    for index in range(2):
        storage.put(image_key(one.id, index), b"\x89PNG")
    ledger.finish(one.model_copy(update={"status": status}))
    ledger.star(one.id, True)
    return one


def is_gone(ledger: Ledger, storage: Storage, one: Generation) -> None:
    """Nothing but the record that it was deleted is left, and everybody is told so."""
    assert sorted(storage.keys("generations")) == [manifest_key(one.id)]
    for key in (pending_key(one.id), star_key(one.id), owned_generation_key("ada", one.id)):
        assert not storage.exists(key)
    assert ledger.list(9, None) == ([], None) and ledger.stars.all() == set()
    with pytest.raises(Gone):
        ledger.get(one.id)


def deaths(
    storage: Storage, redis: Redis, settings: Settings, ledger: Ledger, one: Generation, first: int = 0
) -> Iterator[int]:
    """Have whoever deletes it die before each thing that deleting changes, in turn, from the first on."""
    for k in range(first, 99):
        try:
            Ledger(Dying(storage, k), redis, settings, ledger.owner or None).delete(one.id)  # type: ignore[arg-type]
        except Died:
            yield k
        except Gone:  # it had been decided before
            return
        else:
            return


def test_what_was_begun_is_done_by_whoever_asks_again(
    ledger: Ledger, storage: Storage, redis: Redis, settings: Settings
) -> None:
    one, tried = ended(ledger, storage), list[int]()
    for k in deaths(storage, redis, settings, ledger, one):
        pictures = [key for key in storage.keys("generations") if key.endswith(".png")]
        try:  # whoever is shown its end is shown its pictures
            assert ledger.get(one.id).status is Status.SUCCEEDED and len(pictures) == 2
        except Gone:
            assert storage.exists(deleted_key(one.id))
        tried.append(k)
    assert len(tried) >= 3
    with pytest.raises(Gone):
        ledger.delete(one.id)
    is_gone(ledger, storage, one)


def test_a_worker_that_comes_late_ends_nothing_and_leaves_nothing(ledger: Ledger, storage: Storage) -> None:
    one = ledger.accept(request(count=2))
    started = ledger.start(one.id)
    assert started
    ledger.cancel(one.id)
    ledger.delete(one.id)
    assert ledger.ended(one.id) and not ledger.step(one.id, 1, 3)
    storage.put(image_key(one.id, 0), b"\x89PNG")
    assert not ledger.finish(started.model_copy(update={"status": Status.SUCCEEDED}))
    ledger.discard(started)
    assert ledger.start(one.id) is None
    is_gone(ledger, storage, one)


def test_whoever_tells_of_an_end_late_shows_nothing(ledger: Ledger, storage: Storage, redis: Redis) -> None:
    one = ended(ledger, storage)
    record, text = ledger.records.ended(one.id), storage.get(manifest_key(one.id))
    assert record and text
    storage.put(pending_key(one.id), text)  # as if it had been read before it was deleted
    ledger.delete(one.id)
    storage.put(pending_key(one.id), text)
    ledger._close(record, text)  # pyright: ignore[reportPrivateUsage]
    assert b"prompt" not in (redis.hget(live_key(one.id), "final") or b"")  # type: ignore[operator]
    with pytest.raises(Gone):
        ledger.get(one.id)
    storage.put(pending_key(one.id), text)
    assert ledger.start(one.id) is None and not storage.exists(pending_key(one.id))


def test_without_redis_nothing_is_deleted(
    ledger: Ledger, storage: Storage, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = ended(ledger, storage)
    before = sorted(storage.keys(""))

    def away(*_: object, **__: object) -> None:
        raise RedisConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(redis, "pipeline", away)
        with pytest.raises(RedisConnectionError):
            ledger.delete(one.id)
    assert sorted(storage.keys("")) == before and ledger.get(one.id).starred


def test_without_storage_nothing_is_decided(ledger: Ledger, storage: Storage, redis: Redis, settings: Settings) -> None:
    one = ended(ledger, storage)
    away = Dying(storage, 0, Unavailable("storage_unavailable", "storage does not answer"))
    with pytest.raises(Unavailable):
        Ledger(away, redis, settings, ledger.owner or None).delete(one.id)  # type: ignore[arg-type]
    shown = ledger.get(one.id)
    assert shown.starred and shown.status is Status.SUCCEEDED and len(shown.images) == len(one.images)
    assert [found.id for found in ledger.list(9, None)[0]] == [one.id]
    ledger.delete(one.id)
    is_gone(ledger, storage, one)


@pytest.mark.parametrize("deletes", [True, False], ids=["a star while it is deleted", "deleted while it gets one"])
def test_of_a_deletion_and_a_star_at_one_moment_the_deletion_stands(
    ledger: Ledger, storage: Storage, redis: Redis, settings: Settings, deletes: bool
) -> None:
    for k in range(12):
        one = ended(ledger, storage)
        ledger.star(one.id, False)

        def star(by: Ledger = ledger, one: Generation = one) -> None:
            with suppress(Gone):
                by.star(one.id, True)

        def delete(by: Ledger = ledger, one: Generation = one) -> None:
            with suppress(Gone):
                by.delete(one.id)

        mine, others = (delete, star) if deletes else (star, delete)
        between = Between(storage, k, others)
        mine(Ledger(between, redis, settings, ledger.owner or None))  # type: ignore[arg-type]
        if between.left >= 0:
            others()
            assert k > 0
        is_gone(ledger, storage, one)
        for key in (manifest_key(one.id), deleted_key(one.id)):
            storage.delete(key)
        if between.left >= 0:
            return
    raise AssertionError("more steps than were tried")


def test_what_has_not_ended_is_not_deleted(ledger: Ledger) -> None:
    with pytest.raises(Conflict):
        ledger.delete(ledger.accept(request()).id)


def test_a_list_is_whole_while_what_it_lists_is_deleted(
    ledger: Ledger, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [ended(ledger, storage).id for _ in range(6)][::-1]
    first, cursor = ledger.list(2, None)
    for one in (ids[0], ids[1], ids[2], ids[4]):  # the cursor itself too
        ledger.delete(one)
    assert [one.id for one in first] == ids[:2] and cursor == ids[1]
    assert [one.id for one in ledger.list(2, cursor)[0]] == [ids[3], ids[5]]
    monkeypatch.setattr(ledger.index, "_few", lambda *_: None)
    assert [one.id for one in ledger.list(2, cursor)[0]] == [ids[3], ids[5]]


def test_after_a_week_there_is_no_such_generation(
    ledger: Ledger, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = ended(ledger, storage)
    ledger.delete(one.id)
    monkeypatch.setattr(lifecycle, "now", lambda: now() + TOLD_FOR + timedelta(seconds=1))
    with pytest.raises(NotFound):
        ledger.get(one.id)


def test_a_star_or_the_sweep_is_first(ledger: Ledger, storage: Storage) -> None:
    kept, old = ended(ledger, storage), ended(ledger, storage)
    ledger.star(old.id, False)
    assert not ledger.stars.lets_go(kept.id) and ledger.stars.lets_go(old.id)
    for starred in (True, False):
        with pytest.raises(Gone):
            ledger.star(old.id, starred)
    assert ledger.stars.lets_go(old.id) and not ledger.get(old.id).starred
