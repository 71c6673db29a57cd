"""Bytes go when nothing needs them, and never under anybody who does, in whatever order all of them come."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Semaphore, Thread
from typing import Any

import pytest

from app.shared import disposal
from app.shared.catalog import Catalog, file_key, verdict_key
from app.shared.disposal import GRACE, Disposal, aside
from app.shared.generation_keys import pending_key
from app.shared.generations import begun
from app.shared.records import PENDING, UPLOAD
from app.shared.storage import Storage
from app.shared.uploads import bytes_key, record_key
from tests.app.shared.making import request, upload, version

DATA = b"bytes of an adapter"
SHA = version("a", DATA).sha256
KEY = file_key(SHA)
START = datetime(2026, 11, 26, tzinfo=UTC)
SEEDS = 60
STEPS = ("put", "create", "copy", "get", "size", "exists", "delete", "keys")


class Killed(BaseException):
    """Whoever was at it."""


class Turns:
    """Lets one thread at a time do one thing with storage, whichever chance names; kills some of them for good."""

    def __init__(self, chance: random.Random, mortal: set[str]) -> None:
        self._chance, self._mortal = chance, mortal
        self._may = dict[str, Semaphore]()
        self._done = Semaphore(0)

    def run(self, actors: dict[str, Callable[[Storage], None]], storage: Storage) -> None:
        """Have all of them act, step by step, until each is done or dead."""
        errors = list[BaseException]()
        threads = dict[str, Thread]()
        for name, act in actors.items():
            self._may[name] = Semaphore(0)

            def live(name: str = name, act: Callable[[Storage], None] = act) -> None:
                try:
                    act(Stepping(storage, self, name))  # type: ignore[arg-type]
                except Killed:
                    pass
                except BaseException as error:  # noqa: BLE001
                    errors.append(error)
                finally:
                    self._may.pop(name)
                    self._done.release()

            threads[name] = Thread(target=live)
        for thread in threads.values():
            thread.start()
            self._done.acquire()  # at its first step
        at, patience = "", self._chance.choice((0.0, 0.6, 0.9))
        while self._may:  # now one after the other, now many steps of one
            if at not in self._may or self._chance.random() > patience:
                at = self._chance.choice(sorted(self._may))
            self._may[at].release()
            self._done.acquire()
        assert not errors, errors

    def wait(self, name: str) -> None:
        """Wait for one's turn."""
        self._done.release()
        self._may[name].acquire()
        if name in self._mortal and self._chance.random() < 0.04:
            raise Killed


class Stepping:
    """A store that each thing is done with in one's turn."""

    def __init__(self, storage: Storage, turns: Turns, name: str) -> None:
        self._storage, self._turns, self._name = storage, turns, name

    def __getattr__(self, verb: str) -> Any:
        found = getattr(self._storage, verb)
        if verb not in STEPS:
            return found

        def step(*given: Any) -> Any:
            self._turns.wait(self._name)
            answer = found(*given)
            return list(answer) if verb == "keys" else answer

        return step


class NoIndex:
    """An index that is never whole."""

    def find(self, *_: object) -> None:
        """Nothing is known."""

    add = drop = find


def catalog(storage: Storage) -> Catalog:
    one = Catalog(storage, None)  # type: ignore[arg-type]
    one._index = NoIndex()  # type: ignore[assignment] # pyright: ignore[reportPrivateUsage]
    return one


def sends(name: str, number: int) -> Callable[[Storage], None]:
    """Upload these bytes under a name, as the API and intake do it."""

    def act(storage: Storage) -> None:
        one = upload(f"{number:032x}", DATA)
        storage.put(bytes_key(one.id), DATA)
        storage.create(record_key(one.id), UPLOAD.write(one))
        storage.copy(bytes_key(one.id), KEY)
        catalog(storage).admit(version(name, DATA), {"m": {}}, keep=lambda: storage.put(KEY, DATA))
        storage.delete(bytes_key(one.id))
        storage.delete(record_key(one.id))

    return act


def comes_along(storage: Storage) -> None:
    """Publish these bytes as those of a base model: nobody has sent them."""
    storage.put(KEY, DATA)
    catalog(storage).admit(version("bundled", DATA), {"m": {}}, keep=lambda: storage.put(KEY, DATA))


def deletes(name: str) -> Callable[[Storage], None]:
    return lambda storage: catalog(storage)._delete(name)  # pyright: ignore[reportPrivateUsage]


def later(storage: Storage, hours: int = 0) -> None:
    Disposal(storage, lambda: START + timedelta(hours=hours)).run()


def living(storage: Storage) -> set[str]:
    names = {key.split("/")[1] for key in storage.keys("names")}
    return {one for one in names if catalog(storage)._versions(one)}  # pyright: ignore[reportPrivateUsage]


@pytest.fixture
def storage(elsewhere: str | None) -> Storage:
    return Storage(elsewhere or "memory:///")


@pytest.fixture(autouse=True)
def _in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disposal, "read_all", lambda read, keys: [read(key) for key in keys])
    monkeypatch.setattr(Disposal.__init__, "__defaults__", (lambda: START,))  # those of the catalog


def test_whatever_is_named_has_its_bytes_however_all_of_them_come_between(storage: Storage) -> None:
    for seed in range(SEEDS):
        chance = random.Random(seed)
        storage = Storage("memory:///")
        storage.put(KEY, DATA)
        storage.put(verdict_key(SHA, []), b"{}")
        Disposal(storage, lambda: START - 2 * GRACE).note(KEY)
        actors = {
            "one": sends("one", 1),
            "other": sends("other", 2) if seed % 3 else comes_along,
            "deleting": deletes("one"),
            "disposing": later,
            "disposing too": later,
        }
        mortal = {"disposing too"} if seed % 2 else set[str]()
        Turns(chance, mortal).run(actors, storage)
        assert living(storage) & {"other", "bundled"}
        for _ in living(storage):
            assert storage.get(KEY) or aside(storage, KEY), seed
        later(storage)  # the next turn, a minute later
        assert storage.get(KEY) == DATA and storage.exists(verdict_key(SHA, [])), seed
        for name in living(storage):
            deletes(name)(storage)
        for hours in (3, 6):
            later(storage, hours)
        left = [key for key in storage.keys("") if not key.startswith("names")]
        assert left == [], (seed, left)


def test_ten_uploads_and_ten_deletions_leave_nothing(storage: Storage) -> None:
    for number in range(10):
        sends("style", number)(storage)
        deletes("style")(storage)
    later(storage)
    assert storage.get(KEY) == DATA  # somebody may be accepting a request that found it
    later(storage, 2)
    assert [key for key in storage.keys("") if key != "names/style/deleted.json"] == []


def test_what_was_accepted_keeps_its_adapter(storage: Storage) -> None:
    sends("style", 1)(storage)
    use = {"ref": "style", "name": "style", "version": 1, "sha256": SHA, "strength": 1.0}
    accepted = begun("1" * 32, request(adapters=[use]), "normal", None)
    storage.put(pending_key(accepted.id), PENDING.write(accepted))
    deletes("style")(storage)
    for hours in (2, 4, 40):
        later(storage, hours)
        assert storage.get(KEY) == DATA and storage.exists(verdict_key(SHA, []))
    storage.delete(pending_key(accepted.id))
    later(storage, 40)  # within the hour after it was needed
    assert storage.get(KEY) == DATA
    later(storage, 42)
    assert not list(storage.keys("adapters"))


def test_the_same_bytes_of_another_name_stay(storage: Storage) -> None:
    sends("style", 1)(storage)
    sends("same", 2)(storage)
    deletes("style")(storage)
    later(storage, 2)
    assert storage.get(KEY) == DATA and catalog(storage).resolve("same").sha256 == SHA


def test_a_note_that_is_spoilt_counts_anew(storage: Storage) -> None:
    storage.put(KEY, DATA)
    storage.put(disposal.note_key(KEY), b"\xff")
    for hours, there in ((0, True), (2, False)):
        later(storage, hours)
        assert storage.exists(KEY) is there


def test_who_comes_second_writes_again_what_went_right_before_his_name(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    Disposal(storage, lambda: START - 2 * GRACE).note(KEY)
    create = storage.create

    def last_moment(key: str, data: bytes) -> bool:
        later(storage)
        assert not list(storage.keys("adapters"))
        return create(key, data)

    monkeypatch.setattr(storage, "create", last_moment)
    comes_along(storage)
    assert storage.get(KEY) == DATA and storage.exists(verdict_key(SHA, []))
