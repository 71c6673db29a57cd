"""One suite, every store: a local folder, memory, and S3 as the server of docker-compose.yml speaks it."""

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.shared.disposal import GRACE, Disposal
from app.shared.errors import Unavailable
from app.shared.local_store import LocalStore
from app.shared.storage import FLUSHES, Storage

ROOT = Path(__file__).parents[3]
STORES = ("folder", "memory", pytest.param("s3", marks=pytest.mark.service))
HOSTILE = (
    *("..", "../x", "a/../../x", "a/../b", "a/./b", "a//b", "a\0b", "a\nb", "", "/", "/etc/x", "a/", "/a", "a\\b"),
    *("a/.x.0.part", ".x", "a#1", "a/b#12", "a\udc80b"),  # what an unfinished file is called, and half a character
)


@pytest.fixture(params=STORES)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A store with nothing in it (S3: nothing under the prefix)."""
    if request.param == "folder":
        return Storage((tmp_path / "store").as_uri())
    if request.param == "memory":
        return Storage("memory:///")
    return Storage(f"{request.getfixturevalue('s3')}/{tmp_path.name}")


def test_what_was_put_is_got_until_it_is_deleted(storage: Storage) -> None:
    assert storage.get("a/b") is None and not storage.exists("a/b")
    storage.put("a/b", b"one")
    storage.put("a/b", b"two")
    assert storage.get("a/b") == b"two" and storage.exists("a/b")
    storage.delete("a/b")
    storage.delete("a/b")
    assert storage.get("a/b") is None and not storage.exists("a/b")


def test_what_was_copied_outlives_the_first(storage: Storage) -> None:
    storage.put("a/b", b"one")
    storage.put("c/d/e", b"two")
    for _ in range(2):
        assert storage.copy("a/b", "c/d/e")
        assert storage.get("c/d/e") == b"one"
    storage.put("a/b", b"three")
    assert storage.get("c/d/e") == b"one"
    storage.delete("a/b")
    assert storage.get("c/d/e") == b"one" and sorted(storage.keys("")) == ["c/d/e"]
    assert not storage.copy("a/b", "c/d/f") and not storage.exists("c/d/f")


def test_a_file_of_this_machine_is_taken_where_the_store_is_a_folder(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one")
    how = storage.take("a/b", tmp_path / "file")
    assert (how is None) == (not storage.url.startswith("file:"))
    assert storage.get("a/b") == (b"one" if how else None)


def test_what_nothing_needs_goes_and_what_is_needed_stays(storage: Storage) -> None:
    digests = ["a" * 64, "b" * 64]
    disposal = Disposal(storage, lambda: datetime.now(UTC) - 2 * GRACE)
    for one in digests:
        storage.put(f"adapters/{one}.safetensors", b"bytes")
        storage.put(f"adapters/{one}.json", b"{}")
        disposal.note(f"adapters/{one}.safetensors")
    storage.put("pending/x.json", f'"sha256": "{digests[0]}"'.encode())
    assert sorted(Disposal(storage).run()) == [f"adapters/{digests[1]}.json", f"adapters/{digests[1]}.safetensors"]
    left = {key for key in storage.keys("") if not key.startswith("unneeded")}
    assert left == {"pending/x.json", f"adapters/{digests[0]}.json", f"adapters/{digests[0]}.safetensors"}


def test_flushing_changes_nothing(storage: Storage) -> None:
    storage.put("a/b", b"one")
    for key in ("a/b", "a/c", "d/e"):
        storage.flush(key)
    assert storage.get("a/b") == b"one" and list(storage.keys("")) == ["a/b"]


def test_json_comes_back_as_it_was(storage: Storage) -> None:
    value = {"name": "ü/…", "numbers": [1, 2.5, None], "yes": True}
    storage.put_json("a/b.json", value)
    assert json.loads(storage.get("a/b.json") or b"") == value


def test_a_large_file_is_put_from_disk(storage: Storage, tmp_path: Path) -> None:
    """Over 10 MB obstore sends S3 several parts."""
    path = tmp_path / "large"
    path.write_bytes(os.urandom(12_000_000))
    storage.put("adapters/large", path)
    assert storage.get("adapters/large") == path.read_bytes()


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_a_stream_is_the_same_bytes_in_pieces_of_known_length(storage: Storage, size: int) -> None:
    data = os.urandom(size)
    storage.put("a/b", data)
    found = storage.stream("a/b")
    assert found is not None
    length, chunks = found
    pieces = list(chunks)
    assert (length, b"".join(pieces), storage.size("a/b")) == (size, data, size)
    if storage.url != "memory:///":  # which has the whole in memory anyway
        assert max(map(len, pieces), default=0) <= 3_000_000
    assert storage.stream("a/c") is None and storage.size("a/c") is None


@pytest.mark.parametrize(("start", "end"), [(0, 4), (0, 5_000_000), (4_999_999, 5_000_000), (1_048_577, None), (7, 9)])
def test_a_part_of_a_stream_is_that_part(storage: Storage, start: int, end: int | None) -> None:
    data = os.urandom(5_000_000)
    storage.put("a/b", data)
    found = storage.stream("a/b", start, end)
    assert found is not None
    assert (found[0], b"".join(found[1])) == (len(data), data[start:end])


def test_only_the_first_creates(storage: Storage) -> None:
    assert storage.create("names/a/1.json", b"first")
    assert not storage.create("names/a/1.json", b"second")
    assert storage.get("names/a/1.json") == b"first"


def rivals(storage: Storage) -> int:
    """How many create one key at once: the S3 server of the tests has each wait a second for another, in turn."""
    return 3 if storage.url.startswith("s3:") else 32


def test_of_many_at_once_exactly_one_creates(storage: Storage) -> None:
    for turn in range(5):
        key = f"race/{turn}"
        with ThreadPoolExecutor(rivals(storage)) as pool:
            won = list(pool.map(lambda n, key=key: storage.create(key, str(n).encode()), range(rivals(storage))))
        assert won.count(True) == 1
        assert storage.get(key) == str(won.index(True)).encode()


def test_the_async_verbs_do_the_same(storage: Storage) -> None:
    async def try_all() -> None:
        assert await storage.get_async("a/b") is None
        await storage.put_async("a/b", b"one")
        assert not await storage.create_async("a/b", b"two")
        assert await storage.create_async("a/c", b"three")
        assert await storage.get_async("a/b") == b"one" == storage.get("a/b")
        await storage.delete_async("a/b")
        await storage.delete_async("a/b")
        assert sorted(storage.keys("a")) == ["a/c"]
        won = await asyncio.gather(*(storage.create_async("race/1", str(n).encode()) for n in range(rivals(storage))))
        assert won.count(True) == 1 and storage.get("race/1") == str(won.index(True)).encode()

    asyncio.run(try_all())


def test_no_record_waits_behind_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty uploads may take a minute each; what is accepted meanwhile is written meanwhile."""
    storage, source, copied = Storage((tmp_path / "store").as_uri()), tmp_path / "source", threading.Event()
    source.write_bytes(b"x")
    put = LocalStore.put

    def slow(store: LocalStore, key: str, data: bytes | Path) -> None:
        if isinstance(data, Path):
            copied.wait(60)
        put(store, key, data)

    monkeypatch.setattr(LocalStore, "put", slow)

    async def accept() -> None:
        uploads = [asyncio.ensure_future(storage.put_async(f"uploads/{n}", source)) for n in range(2 * FLUSHES)]
        await asyncio.sleep(0)  # each has asked for its thread
        try:
            records = (storage.create_async(f"pending/{n}", b"x") for n in range(2 * FLUSHES))
            assert all(await asyncio.wait_for(asyncio.gather(*records), 30))
            assert await asyncio.wait_for(storage.get_async("pending/0"), 30) == b"x"
            assert not any(upload.done() for upload in uploads)
        finally:
            copied.set()
            await asyncio.gather(*uploads)

    asyncio.run(accept())
    assert len(list(storage.keys("uploads"))) == 2 * FLUSHES


def test_a_reader_never_sees_half_an_object(storage: Storage) -> None:
    """While it is replaced again and again, and while it is created, it is one of the whole ones or nothing."""
    whole: set[bytes | None] = {bytes([n]) * 300_000 for n in range(8)}
    done = threading.Event()

    def write(number: int) -> None:
        content = bytes([number % 8]) * 300_000
        storage.put("a/replaced", content)
        storage.create("a/created", content)

    def read() -> set[bytes | None]:
        seen: set[bytes | None] = set()
        while not done.is_set():
            seen |= {storage.get("a/replaced"), storage.get("a/created")}
        return seen

    with ThreadPoolExecutor(5) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        list(pool.map(write, range(16)))
        done.set()
        for reader in readers:
            assert reader.result() <= whole | {None}
    assert sorted(storage.keys("a")) == ["a/created", "a/replaced"]


def test_keys_are_those_of_the_folder_and_no_other(storage: Storage) -> None:
    for key in ("names/a/1.json", "names/a/2.json", "names/ab/1.json", "other/a"):
        storage.put(key, b"x")
    assert sorted(storage.keys("names/a")) == ["names/a/1.json", "names/a/2.json"]
    assert sorted(storage.keys("names")) == ["names/a/1.json", "names/a/2.json", "names/ab/1.json"]
    assert list(storage.keys("nothing")) == [] and list(storage.keys("other/a")) == []


def test_entries_say_when_they_were_written(storage: Storage) -> None:
    storage.put("a/b", b"x")
    ((key, written),) = storage.entries("a")
    assert key == "a/b"
    assert abs(datetime.now(UTC) - written) < timedelta(minutes=1)


@pytest.mark.parametrize("key", HOSTILE)
def test_a_key_that_could_leave_its_folder_is_an_error(storage: Storage, key: str, tmp_path: Path) -> None:
    """Law 5: keys are made of our own words; should one ever not be, nothing is read or written."""
    storage.put("kept", b"kept")
    before = sorted(tmp_path.rglob("*"))
    for verb in (
        lambda: storage.put(key, b"x"),
        lambda: storage.create(key, b"x"),
        lambda: storage.flush(key),
        lambda: storage.get(key),
        lambda: storage.exists(key),
        lambda: storage.stream(key),
        lambda: storage.delete(key),
        lambda: asyncio.run(storage.put_async(key, b"x")),
        lambda: asyncio.run(storage.create_async(key, b"x")),
        lambda: asyncio.run(storage.get_async(key)),
        lambda: asyncio.run(storage.delete_async(key)),
    ):
        with pytest.raises(ValueError, match="is no key"):
            verb()
    assert storage.get("kept") == b"kept"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_store_that_takes_nothing_is_unavailable(tmp_path: Path) -> None:
    storage = Storage((tmp_path / "store").as_uri())
    (tmp_path / "store" / "a").write_bytes(b"a file where a folder should be")
    with pytest.raises(Unavailable) as refusal:
        storage.put("a/b", b"x")
    assert refusal.value.code == "storage_unavailable"


@pytest.fixture
def mute(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """A store that takes every connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        environment = {"ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}", "ALLOW_HTTP": "true"}
        for name, value in (environment | {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "y"}).items():
            monkeypatch.setenv(f"AWS_{name}", value)
        yield Storage("s3://radiata")


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["get", "size", "stream", "put", "create", "delete", "entries"])
def test_a_store_that_says_nothing_is_given_up_within_seconds(mute: Storage, verb: str) -> None:
    """By itself obstore waits three minutes; whoever has the patience asks again."""
    verbs: dict[str, Callable[[], object]] = {
        "get": lambda: mute.get("a/b"),
        "size": lambda: mute.size("a/b"),
        "stream": lambda: mute.stream("a/b"),
        "put": lambda: mute.put("a/b", b"x"),
        "create": lambda: mute.create("a/b", b"x"),
        "delete": lambda: mute.delete("a/b"),
        "entries": lambda: list(mute.entries("a")),
    }
    begun = time.monotonic()
    with pytest.raises(Unavailable) as error:
        verbs[verb]()
    assert time.monotonic() - begun < 20  # 7 at most where nobody else is at work
    assert "\n" not in error.value.message
