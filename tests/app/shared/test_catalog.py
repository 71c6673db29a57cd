"""Names and numbers: a version never changes, a number is never used twice, and Redis is only an index."""

import contextlib
import json
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from app.shared.catalog import Catalog, verdict_key
from app.shared.catalog_index import INDEX, Living
from app.shared.errors import AdapterRefused, Gone, NotFound, RadiataError, Unreadable
from app.shared.facts import AdapterFacts, Fitting
from app.shared.own_catalog import OwnCatalog
from app.shared.owners import namespace
from app.shared.storage import Storage
from app.shared.wire.adapter import AdapterVersion
from tests.app.shared.making import version


@pytest.fixture
def catalog(storage: Storage, redis: Redis) -> Catalog:
    return Catalog(storage, redis)


def admit(catalog: Catalog, name: str, content: bytes = b"", **fields: object) -> AdapterVersion:
    return catalog.admit(version(name, content, **fields), {"emoji-64": {"algorithms": ["lora"]}})[0]


def at_once(call: Callable[[int], tuple[AdapterVersion, bool]], many: int = 8) -> list[tuple[AdapterVersion, bool]]:
    gate = threading.Barrier(many)

    def one(number: int) -> tuple[AdapterVersion, bool]:
        gate.wait()
        return call(number)

    with ThreadPoolExecutor(many) as pool:
        return list(pool.map(one, range(many)))


def test_eight_files_under_one_name_at_once_are_eight_versions(catalog: Catalog) -> None:
    taken = at_once(lambda number: catalog.admit(version("same", bytes([number])), {}))
    assert sorted(one.version for one, _ in taken) == list(range(1, 9))
    assert all(new for _, new in taken)
    for one, _ in taken:
        assert catalog.resolve(f"same:{one.version}") == one
    assert catalog.resolve("same").version == 8


def test_the_same_file_eight_times_at_once_is_one_version(catalog: Catalog) -> None:
    taken = at_once(lambda _: catalog.admit(version("same", b"bytes"), {}))
    assert {one.version for one, _ in taken} == {1}
    assert sum(new for _, new in taken) == 1


def test_a_description_is_taken_or_refused(catalog: Catalog) -> None:
    described = admit(catalog, "one", b"bytes", description="a cat")
    assert catalog.resolve("one").description == "a cat"
    for said in ("a cat", ""):
        assert admit(catalog, "one", b"bytes", description=said) == described
    with pytest.raises(AdapterRefused, match="one:1 already, described as 'a cat'"):
        admit(catalog, "one", b"bytes", description="a dog", fits=["later"])
    assert catalog.resolve("one") == described.model_copy(update={"fits": ["emoji-64", "later"]}), "judged all the same"
    assert admit(catalog, "one", b"others", description="a dog").version == 2


def test_a_cover_is_taken_or_refused(catalog: Catalog) -> None:
    first, second = (f"image:{digit * 64}" for digit in "12")
    covered = admit(catalog, "one", b"bytes", cover=first)
    for said in (first, None):
        assert admit(catalog, "one", b"bytes", cover=said) == covered
    for name, cover, before in (("one", second, first), ("bare", first, "none")):
        admit(catalog, "bare", b"bytes")
        with pytest.raises(AdapterRefused, match=f"{name}:1 already, with {before} as cover") as refusal:
            admit(catalog, name, b"bytes", cover=cover)
        assert refusal.value.code == "cover_differs"


def test_a_rebuilt_index_holds_what_was_there(catalog: Catalog, redis: Redis) -> None:
    for name, content in (("a", b"1"), ("a", b"2"), ("b", b"1"), ("gone", b"3")):
        admit(catalog, name, content)
    catalog.delete("gone")
    refs = ["a", "a:1", "b", "b:1", *(f"sha256:{sha256(content).hexdigest()}" for content in (b"1", b"2"))]
    before, newest = [catalog.resolve(ref) for ref in refs], catalog.newest()
    redis.flushall()
    assert catalog.newest() == newest
    assert [catalog.resolve(ref) for ref in refs] == before
    assert redis.hexists(INDEX, "whole")
    deleted(catalog, "gone")


def answers(catalog: Catalog, refs: list[str]) -> list[object]:
    """What each ref means, or the code of its refusal; and all that are listed."""

    def one(ref: str) -> object:
        try:
            return catalog.resolve(ref)
        except RadiataError as error:
            return error.code

    return [*map(one, refs), catalog.newest()]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_lost_every_answer_is_the_same(catalog: Catalog, redis: Redis, seed: int) -> None:
    chance = random.Random(seed)
    names, contents = ["a", "b", "sha256", "z"], [b"1", b"2", b"3"]
    refs = [*names, "none", *(f"{name}:{number}" for name in names for number in (1, 2, 9, "x"))]
    refs += [f"sha256:{sha256(content).hexdigest()}" for content in contents]
    for _ in range(30):
        if chance.random() < 0.7:
            admit(catalog, chance.choice(names), chance.choice(contents))
        else:
            with contextlib.suppress(RadiataError):
                catalog.delete(chance.choice(names))
        whole = answers(catalog, refs)
        for key in redis.keys("*"):  # type: ignore[union-attr]
            if chance.random() < 0.5:
                redis.delete(key)
        assert answers(catalog, refs) == whole
        if chance.random() < 0.5:
            redis.flushall()


@pytest.mark.parametrize("emptied", [False, True])
@pytest.mark.parametrize("owner", [None, "", "ada"])
def test_a_name_whose_newest_version_cannot_be_read_means_no_older_one(
    storage: Storage, redis: Redis, owner: str | None, emptied: bool
) -> None:
    catalog = Catalog(storage, redis) if owner is None else OwnCatalog(storage, redis, owner)
    for name, content in (("a", b"1"), ("a", b"2"), ("b", b"3")):
        catalog.admit(version(name, content, owner=owner or ""), {})
    storage.put(f"names/{namespace('a', owner or '')}/2.json", b"{")
    redis.flushall()
    if not emptied:
        assert catalog.newest()  # from here on it is in the index that it cannot be read
    assert [one.name for one in catalog.newest()] == ["b"]
    with pytest.raises(Unreadable):
        catalog.resolve("a")
    assert catalog.resolve("a:1").version == 1
    bob = OwnCatalog(storage, redis, "bob")
    assert bob.newest() == []
    bundled = catalog.admit(version("c", b"4", owner="radiata"), {})[0]
    Catalog(storage, redis).admit(version("c", b"5"), {})
    storage.put("names/c/2.json", b"{")
    redis.flushall()
    assert bob.resolve("c") == bundled and bob.newest() == [bundled]  # what cannot be read may be the first owner's


def test_answers_come_from_storage_while_redis_is_away(
    catalog: Catalog, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = ["a", "a:1", "none", "gone", f"sha256:{sha256(b'1').hexdigest()}"]
    for name, content in (("a", b"1"), ("a", b"2"), ("gone", b"3")):
        admit(catalog, name, content)
    catalog.delete("gone")
    before = answers(catalog, refs)

    def away(*_: object, **__: object) -> None:
        raise RedisConnectionError("gone")

    monkeypatch.setattr(catalog._index, "_run", away)
    assert answers(catalog, refs) == before


def test_what_is_deleted_while_it_is_rebuilt_stays_deleted(
    catalog: Catalog, storage: Storage, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit(catalog, "a", b"1")
    admit(catalog, "b", b"2")
    redis.flushall()
    read_all = catalog._index._read_all

    def meanwhile() -> list[Living]:
        found = list(read_all())
        monkeypatch.setattr(catalog._index, "_read_all", read_all)
        redis_of_another = Catalog(storage, redis)
        with contextlib.suppress(RadiataError):
            redis_of_another.delete("a")
        return found

    monkeypatch.setattr(catalog._index, "_read_all", meanwhile)
    catalog.newest()
    deleted(catalog, "a")
    with pytest.raises(NotFound):
        catalog.resolve(f"sha256:{sha256(b'1').hexdigest()}")
    assert [one.name for one in catalog.newest()] == ["b"]


def test_what_a_ref_means(catalog: Catalog) -> None:
    first, second = admit(catalog, "a", b"1"), admit(catalog, "a", b"2")
    assert catalog.resolve("a") == second
    assert catalog.resolve("a:1") == first
    assert catalog.resolve(f"sha256:{first.sha256}") == first
    for ref in ("b", "a:3", f"sha256:{'0' * 64}"):
        with pytest.raises(NotFound):
            catalog.resolve(ref)


def test_a_later_model_only_adds_to_what_a_version_fits(catalog: Catalog) -> None:
    admit(catalog, "a", fits=["one"])
    assert admit(catalog, "a", fits=["two"]).fits == ["one", "two"]
    assert catalog.resolve("a").fits == ["one", "two"]


def test_what_was_found_on_a_model_that_is_away_stays(catalog: Catalog) -> None:
    for model in ("one", "two"):
        facts = AdapterFacts(ranked=True, on={model: Fitting(places={"unet": {}}, words={})})
        components = {"components": ["unet"], "components_of": {model: ["unet"]}}
        catalog.admit(version("a", fits=[model], **components), {model: {"layers": len(model)}}, facts)
    record = catalog.record("a")
    assert list(record.verdicts) == list(record.components_of) == record.fits == ["one", "two"]
    assert record.verdict == record.verdicts["one"]
    found = catalog.facts(record.sha256, [], "one")
    assert found and list(found.on) == ["one", "two"]


def test_a_verdict_of_version_0_1_is_that_of_every_model(catalog: Catalog, storage: Storage) -> None:
    one = admit(catalog, "a")
    storage.put(verdict_key(one.sha256, []), b'{"components": {"unet": 3}, "layers": 3}')
    record = catalog.record("a")
    assert record.verdict == {"components": {"unet": 3}, "layers": 3} and record.verdicts == {}


# Deleting


def deleted(catalog: Catalog, name: str) -> None:
    with pytest.raises(Gone, match="was deleted"):
        catalog.resolve(name)
    assert name not in [one.name for one in catalog.newest()]


def test_a_record_without_a_kind_has_that_of_what_its_file_changes(catalog: Catalog, storage: Storage) -> None:
    kinds = {"words": "embedding", "layers": "weights"}
    for name, components in (("words", []), ("layers", ["unet"])):
        record = version(name, name.encode(), components=components).model_dump(mode="json", exclude={"kind"})
        storage.put(f"names/{name}/1.json", json.dumps(record).encode())
    assert {one.name: one.kind for one in catalog.newest()} == kinds
    assert {name: catalog.resolve(name).kind for name in kinds} == kinds
    assert {name: catalog.record(name).kind for name in kinds} == kinds
    assert version("net", components=[], kind="control").kind == "control"


def test_a_number_is_not_used_again_however_often_a_name_is_deleted(catalog: Catalog) -> None:
    for number in (1, 2, 3):
        assert admit(catalog, "a", b"same").version == number
        catalog.delete("a")
        deleted(catalog, "a")


def test_eight_deleters_at_once_delete_once_and_keep_count(catalog: Catalog) -> None:
    admit(catalog, "a", b"1")
    admit(catalog, "a", b"2")

    def delete(_: int) -> str:
        try:
            catalog.delete("a")
        except RadiataError as error:
            return error.code
        return "deleted"

    outcomes = at_once(delete)  # type: ignore[arg-type]
    assert "deleted" in outcomes and set(outcomes) <= {"deleted", "adapter_deleted", "adapter_unknown"}
    assert admit(catalog, "a", b"1").version == 3


class _Died(Exception):
    pass


def test_a_deleter_that_died_has_deleted(
    catalog: Catalog, storage: Storage, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tombstone decides: a rebuilt index does not bring back files that nobody came to clear."""

    def die(_: str) -> None:
        raise _Died

    admit(catalog, "a", b"1")
    with monkeypatch.context() as patch, pytest.raises(_Died):
        patch.setattr(storage, "delete", die)
        catalog.delete("a")
    redis.flushall()
    deleted(catalog, "a")
    assert admit(catalog, "a", b"1").version == 2
    assert catalog.record("a").versions == [2]


def test_what_is_uploaded_while_its_name_is_deleted_can_be_found(
    catalog: Catalog, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit(catalog, "a", b"1")
    really = storage.delete

    def busy(key: str) -> None:
        monkeypatch.setattr(storage, "delete", really)
        admit(catalog, "a", b"2")
        really(key)

    monkeypatch.setattr(storage, "delete", busy)
    catalog.delete("a")
    assert catalog.resolve("a").version == 2
    assert catalog.record("a").versions == [2]


def test_the_same_bytes_with_tensors_left_out_have_a_verdict_of_their_own(catalog: Catalog) -> None:
    catalog.admit(version("whole", b"bytes"), {"emoji-64": {"layers": 2}})
    catalog.admit(version("part", b"bytes", ignore=["unused*"]), {"emoji-64": {"layers": 1}})
    assert catalog.record("whole").verdict == {"layers": 2}
    assert catalog.record("part").verdict == {"layers": 1}
