"""`radiata gc` removes what nothing refers to, and nothing else, on a service that runs."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from redis import Redis

from app.shared.accepted import TOLD_FOR
from app.shared.catalog import Catalog, file_key
from app.shared.collecting import Collecting, Tally
from app.shared.errors import Gone, NotFound
from app.shared.generation_keys import image_key, manifest_key
from app.shared.generations import Ledger
from app.shared.lifecycle import live_key, now
from app.shared.owners import owned_generation_key
from app.shared.records import deleted_key
from app.shared.settings import Settings
from app.shared.stars import star_key
from app.shared.storage import Storage
from app.shared.trainings import Trainings
from app.shared.uploads import Uploads, bytes_key
from tests.app.shared.making import request, training_request, upload, version
from tests.app.shared.test_forgetting import deaths, ended, is_gone

HOURS = timedelta(hours=2)
NOBODY = "f" * 32


@pytest.fixture
def settings(settings: Settings, elsewhere: str | None) -> Settings:
    return settings.model_copy(update={"storage_url": elsewhere})


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings, "ada")


@pytest.fixture
def collect(storage: Storage, redis: Redis, settings: Settings) -> Callable[..., list[Tally]]:
    """Collect at a time from now."""

    def run(later: timedelta = HOURS, dry: bool = False) -> list[Tally]:
        return Collecting(storage, redis, settings, lambda: now() + later).run(dry)

    return run


def test_what_belongs_to_something_stays(
    collect: Callable[..., list[Tally]], ledger: Ledger, storage: Storage, redis: Redis, settings: Settings
) -> None:
    ended(ledger, storage)
    drawing = ledger.accept(request())
    storage.put(image_key(drawing.id, 0), b"being drawn")
    Uploads(storage, redis, settings).stage(upload(), b"bytes")
    data = b"an adapter"
    storage.put(file_key(version("a", data).sha256), data)
    Catalog(storage, redis).admit(version("a", data), {})
    trainings = Trainings(storage, redis, settings)
    for canceled in (False, True):
        one = trainings.accept(training_request())
        storage.put(f"trainings/{one.id}/checkpoints/0000001-0.safetensors", b"x")
        if canceled:
            trainings.cancel(one.id)
    for key in ("secret.json", "keys/0123456789ab.json", "models/m.json", "store.json"):
        storage.put(key, b"{}")
    before = sorted(storage.keys(""))
    for later in (HOURS, 3 * HOURS):
        found = collect(later)
        assert sum(one.count + one.later for one in found) == 0, found
    assert sorted(storage.keys("")) == before


LEFTOVERS = [
    bytes_key(NOBODY),
    f"uploads/{NOBODY}.end",
    image_key(NOBODY, 0),
    star_key(NOBODY),
    owned_generation_key("ada", NOBODY),
    f"trainings/{NOBODY}/checkpoints/0000001-0.safetensors",
    f"doctor/{NOBODY}",
    f"owned/pictures/ada/{NOBODY}{NOBODY}",
    file_key(NOBODY + NOBODY),
    f"adapters/{NOBODY}{NOBODY}.facts.json",
]


def test_what_belongs_to_nothing_goes_once_it_is_old(collect: Callable[..., list[Tally]], storage: Storage) -> None:
    for key in LEFTOVERS:
        storage.put(key, b"left")
    for later, dry in ((timedelta(), False), (HOURS, True)):
        found = collect(later, dry)
        assert set(LEFTOVERS) <= set(storage.keys(""))
    assert (sum(one.count for one in found), sum(one.later for one in found)) == (8, 2)
    found = collect()
    assert (sum(one.count for one in found), sum(one.bytes for one in found)) == (8, 32)
    collect(2 * HOURS)
    assert list(storage.keys("")) == []


def test_gc_finishes_what_a_dead_process_began(
    collect: Callable[..., list[Tally]], ledger: Ledger, storage: Storage, redis: Redis, settings: Settings
) -> None:
    """Of each deletion, another one dies a step later, and gc does the rest, and tells no other death from it."""
    for at in range(9):
        one = ended(ledger, storage)
        tried = next((k for k in deaths(storage, redis, settings, ledger, one, at) if k == at), None)
        collect()
        if tried is not None and at == 0:  # nothing had been said yet
            assert ledger.get(one.id).starred
            ledger.delete(one.id)
        is_gone(ledger, storage, one)
        for key in (manifest_key(one.id), deleted_key(one.id)):
            storage.delete(key)


def test_a_deletion_is_forgotten_after_a_week(
    collect: Callable[..., list[Tally]], ledger: Ledger, storage: Storage
) -> None:
    one = ended(ledger, storage)
    ledger.delete(one.id)
    collect(TOLD_FOR - HOURS)
    with pytest.raises(Gone):
        ledger.get(one.id)
    collect(TOLD_FOR + HOURS)
    assert list(storage.keys("generations")) == list(storage.keys("deleted")) == []
    with pytest.raises(NotFound):
        ledger.get(one.id)


def test_a_removal_of_a_training_is_finished_and_forgotten_after_a_week(
    collect: Callable[..., list[Tally]], storage: Storage, redis: Redis, settings: Settings
) -> None:
    trainings = Trainings(storage, redis, settings)
    one, kept = trainings.accept(training_request()), trainings.accept(training_request())
    for each in (one, kept):
        trainings.cancel(each.id)
    trainings.clear_away(one.id)
    left = [f"trainings/{one.id}/checkpoints/0000001-0.safetensors", f"to-train/{one.id}.json"]
    for key in left:
        storage.put(key, b"of a worker that came late, or of whoever removed it and died")
    collect()
    assert not any(map(storage.exists, left))
    with pytest.raises(Gone):
        trainings.get(one.id)
    collect(TOLD_FOR + HOURS)
    assert not list(storage.keys(f"trainings/{one.id}")) and trainings.get(kept.id).status == "canceled"


def test_a_mark_of_an_earlier_life_deletes_nothing(
    collect: Callable[..., list[Tally]], ledger: Ledger, storage: Storage, redis: Redis
) -> None:
    one = ledger.accept(request(), idempotency_key="once")
    ledger.cancel(one.id)
    ledger.delete(one.id)
    mark = storage.get(deleted_key(one.id))
    redis.delete(live_key(one.id))
    storage.delete(manifest_key(one.id))  # it was long ago, and gc died before it removed the mark
    assert mark and ledger.accept(request(), idempotency_key="once").id == one.id
    ledger.cancel(one.id)
    collect()
    assert ledger.get(one.id).status == "canceled"
