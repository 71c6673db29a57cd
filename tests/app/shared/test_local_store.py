"""A local folder: what is written is on the disk before its writer is told so, and killed writers leave nothing."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import LocalStore as ObstoreLocalStore

from app.shared import local_store
from app.shared.errors import NoRoom, Unavailable
from app.shared.local_store import ABANDONED_S, LocalStore
from app.shared.storage import Storage

ROOT = Path(__file__).parents[3]
UNFINISHED = {".part": "unfinished", "(deleted)": "unnamed"}  # how the path of an open file ends


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> LocalStore:
    return LocalStore(folder)


def below(calls: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What was done in the store's own folder."""
    return [(verb, name) for verb, name in calls if not name.startswith("..")]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[tuple[str, str]]:
    """What is flushed, and what gets its name, in order; files beside their place are called `unfinished`."""
    seen: list[tuple[str, str]] = []

    def name(path: Path) -> str:
        relative = os.path.relpath(path, folder)
        return next((kind for end, kind in UNFINISHED.items() if relative.endswith(end)), relative)

    def fsync(number: int) -> None:
        seen.append(("flush", name(Path(f"/dev/fd/{number}").resolve())))

    def naming(really: Callable[..., None]) -> Callable[..., None]:
        def call(source: str, target: str, **within: int) -> None:
            really(source, target, **within)
            seen.append(("name", name(Path(target))))

        return call

    monkeypatch.setattr(local_store, "FULLY", None)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", naming(os.link))
    monkeypatch.setattr(os, "replace", naming(os.replace))
    return seen


@pytest.fixture(params=[True, False], ids=["unnamed", "named"])
def unnamed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bool:
    """Both ways of making a file: file systems differ in what they have."""
    if not request.param:
        monkeypatch.setattr(local_store, "UNNAMED", None)
    elif not takes_unnamed(tmp_path):
        pytest.skip("no file without a name can be made, or named, here")
    return request.param


def takes_unnamed(folder: Path) -> bool:
    tried = LocalStore(folder / "tried")
    return tried.create("a", b"x") and not tried._named_only  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("verb", ["put", "create", "put a file"])
def test_the_file_is_flushed_then_named_then_its_folder_is_flushed(
    store: LocalStore, unnamed: bool, calls: list[tuple[str, str]], tmp_path: Path, verb: str
) -> None:
    """Law 4: a power cut at any line leaves the whole object or none, and after the return the whole."""
    source = tmp_path / "source"
    source.write_bytes(b"x")
    writes: dict[str, Callable[[str], object]] = {
        "put": lambda key: store.put(key, b"x"),
        "create": lambda key: store.create(key, b"x"),
        "put a file": lambda key: store.put(key, source),
    }
    writes[verb]("a/b/c")
    made = [("flush", "."), ("flush", "a")]  # the names of folders that were made for it
    file = "unnamed" if unnamed and verb == "create" else "unfinished"
    assert below(calls) == [*made, ("flush", file), ("name", "a/b/c"), ("flush", "a/b")]
    calls.clear()
    writes[verb]("a/b/d")
    assert calls == [("flush", file), ("name", "a/b/d"), ("flush", "a/b")]


def test_the_folders_above_the_store_are_flushed_before_anything_is_named(
    folder: Path, calls: list[tuple[str, str]]
) -> None:
    """A store may be the first thing in a new data folder, and a process that made that may have died."""
    LocalStore(folder / "new" / "deep")
    LocalStore(folder / "new" / "deep").create("a", b"x")
    named = next(at for at, (verb, _) in enumerate(calls) if verb == "name")
    assert {("flush", "new"), ("flush", "."), ("flush", "..")} <= set(calls[:named])
    calls.clear()
    LocalStore(folder / "new").flush("deep/a")
    assert {("flush", "new/deep"), ("flush", "new"), ("flush", "."), ("flush", "..")} <= set(calls)


def test_a_folder_above_that_is_another_users_is_left_to_them(
    folder: Path, calls: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(folder / "store")
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder)
    store.create("a", b"x")
    assert [name for verb, name in calls if verb == "flush"] == ["unnamed", "store"]


def test_a_folder_that_another_process_made_is_flushed_too(folder: Path, calls: list[tuple[str, str]]) -> None:
    """It may have died before it came so far."""
    (folder / "a" / "b").mkdir(parents=True)
    LocalStore(folder).create("a/b/c", b"x")
    assert below(calls)[:2] == [("flush", "."), ("flush", "a")]


@pytest.mark.usefixtures("unnamed")
def test_a_flush_that_fails_is_an_error_and_leaves_nothing(
    folder: Path, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_number: int) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    store.put("a/b", b"before")
    monkeypatch.setattr(local_store, "_flush", fails)
    for write in (lambda: store.put("a/b", b"after"), lambda: store.create("a/c", b"x")):
        with pytest.raises(OSError, match="broken"):
            write()
    assert files(folder) == ["a/b"] and store.get("a/b") == b"before"


@pytest.mark.usefixtures("unnamed")
@pytest.mark.parametrize("again", ["the same", "another", "read and flush"])
def test_a_name_that_is_not_flushed_is_not_told(
    folder: Path, store: LocalStore, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    """Law 4: whoever tries again, or answers from what it read, is told only when it is."""
    fail = True
    tries: dict[str, tuple[Callable[[], object], object]] = {
        "the same": (lambda: store.create("a/c", b"x"), True),
        "another": (lambda: store.create("a/c", b"y"), False),
        "read and flush": (lambda: store.flush("a/c"), None),
    }
    ask, answer = tries[again]

    def fails(_folder: str) -> None:
        if fail:
            raise OSError(errno.EIO, "the disk is broken")

    store.create("a/b", b"x")
    monkeypatch.setattr(local_store, "_flush_folder", fails)
    with pytest.raises(OSError, match="broken"):
        store.create("a/c", b"x")
    assert store.get("a/c") == b"x"
    with pytest.raises(OSError, match="broken"):
        ask()
    fail = False
    assert ask() is answer and files(folder) == ["a/b", "a/c"]


def test_flushing_makes_nothing(folder: Path, store: LocalStore) -> None:
    store.put("a/b", b"x")
    for key in ("a/b", "a/c", "d/e", "a/b/c"):
        store.flush(key)
    assert sorted(path.name for path in folder.rglob("*")) == ["a", "b"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_is_no_room_and_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fails(_number: int) -> None:
        raise OSError(number, os.strerror(number))

    storage = Storage(folder.as_uri())
    storage.put("a/b", b"x")
    monkeypatch.setattr(local_store, "_flush", fails)
    kind, code = (Unavailable, "storage_unavailable") if number == errno.EIO else (NoRoom, "no_room")
    with pytest.raises(kind) as error:
        storage.put("a/c", b"x" * 100_000)
    assert (type(error.value), error.value.code) == (kind, code)
    assert files(folder) == ["a/b"]


@pytest.mark.usefixtures("unnamed")
def test_whoever_creates_second_is_told(folder: Path, store: LocalStore) -> None:
    assert store.create("a/b", b"x") and store.create("a/b", b"x")
    assert not store.create("a/b", b"y")
    assert files(folder) == ["a/b"] and store.get("a/b") == b"x"


def test_a_file_system_without_unnamed_files_is_asked_once(
    folder: Path, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    really = os.open

    def opened(path: str, flags: int, *given: int, **within: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            asked.append(path)
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return really(path, flags, *given, **within)

    monkeypatch.setattr(local_store, "UNNAMED", os.O_TMPFILE)
    monkeypatch.setattr(os, "open", opened)
    assert store.create("a/b", b"x") and store.create("a/c", b"y")
    assert files(folder) == ["a/b", "a/c"] and len(asked) == 1


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EPERM, errno.EXDEV])
def test_where_an_unnamed_file_cannot_get_its_name_no_second_one_is_written(
    store: LocalStore, calls: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As where there is no /proc: the file was written and flushed in vain."""
    link = os.link

    def linked(source: str, target: str, **within: Any) -> None:
        if source.startswith("/proc/"):
            raise OSError(number, os.strerror(number))
        link(source, target, **within)

    monkeypatch.setattr(os, "link", linked)
    assert store.create("a", b"x") and not store.create("a", b"y")
    calls.clear()
    assert all(store.create(f"b{count}", b"x") for count in range(3))
    assert [what for what in calls if what[0] == "flush"] == [("flush", "unfinished"), ("flush", ".")] * 3


WRITER = """
import sys
from pathlib import Path
from typing import Any
from app.shared.local_store import LocalStore
store, n = LocalStore(Path(sys.argv[1])), 0
print("ready", flush=True)
while True:
    store.put("a/replaced", b"%09d" % n * 50_000)
    store.create(f"a/{n}", b"%09d" % n * 50_000)
    n += 1
"""


def test_a_writer_that_is_killed_leaves_whole_objects_alone(folder: Path, store: LocalStore) -> None:
    for turn in range(5):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.02 * turn)
            writer.send_signal(signal.SIGKILL)
        for key, _ in store.entries(""):
            data = store.get(key)
            assert data is not None and len(data) == 450_000 and data[:9] == data[-9:]


def test_what_a_killed_writer_left_is_no_key_and_goes_when_it_is_old(folder: Path, store: LocalStore) -> None:
    store.put("a/b", b"x")
    left = [folder / "a" / name for name in (".b.0123456789abcdef.part", "b#1")]  # ours, and version 0.1's
    for path in left:
        path.write_bytes(b"half")
    assert [key for key, _ in store.entries("")] == ["a/b"]
    assert all(path.exists() for path in left)  # somebody may be at it
    then = time.time() - ABANDONED_S - 60
    for path in [*left, folder / "a" / "b"]:
        os.utime(path, (then, then))
    assert [key for key, _ in store.entries("a")] == ["a/b"]
    assert files(folder) == ["a/b"]


def test_a_folder_of_version_0_1_is_served_and_serves_it(folder: Path, store: LocalStore) -> None:
    """It wrote with obstore's own local store: names on the disk are the keys, for it and for us."""
    theirs = ObstoreLocalStore(folder)
    keys = [f"names/a.b-c_d/{n}.json" for n in (1, 20)] + [f"generations/{'0' * 32}/manifest.json", "adapters/x.bin"]
    for key in keys:
        obstore.put(theirs, key, key.encode())
    assert sorted(key for key, _ in store.entries("")) == sorted(keys)
    assert all(store.get(key) == key.encode() and not store.create(key, b"") for key in keys)
    store.put("names/new/1.json", b"new")
    assert bytes(obstore.get(theirs, "names/new/1.json").bytes()) == b"new"
    listed = [entry for chunk in obstore.list(theirs) for entry in chunk]
    assert {entry["path"]: entry["last_modified"].replace(microsecond=0) for entry in listed} == {
        key: when.replace(microsecond=0) for key, when in store.entries("")
    }
    assert all(when <= datetime.now(UTC) for _, when in store.entries(""))


def test_a_folder_that_is_cleared_away_meanwhile_is_made_anew(folder: Path, store: LocalStore) -> None:
    store.put("a/b/c", b"x")
    (folder / "a" / "b" / "c").unlink()
    (folder / "a" / "b").rmdir()
    assert store.create("a/b/c", b"y") and store.get("a/b/c") == b"y"


def test_a_listing_goes_on_while_others_write_and_delete(store: LocalStore) -> None:
    store.put("kept/1", b"x")
    done = threading.Event()

    def churn() -> None:
        while not done.is_set():
            store.put("kept/2", b"x")
            store.delete("kept/2")

    writer = threading.Thread(target=churn)
    writer.start()
    try:
        for _ in range(100):
            assert {"kept/1"} <= {key for key, _ in store.entries("kept")} <= {"kept/1", "kept/2"}
    finally:
        done.set()
        writer.join()


def test_a_folder_is_no_object(store: LocalStore) -> None:
    store.put("a/b/c", b"x")
    for key in ("a/b", "a/b/c/d"):
        assert store.get(key) is None and store.size(key) is None and store.stream(key) is None
    with pytest.raises(IsADirectoryError):
        store.put("a/b", b"x")
    with pytest.raises(NotADirectoryError):
        store.put("a/b/c/d", b"x")
    assert [key for key, _ in store.entries("")] == ["a/b/c"]


def test_keys_are_those_of_entries_and_no_file_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path / "keys")
    for number in range(5):
        store.put(f"a/{number % 2}/{number}", b"bytes")
    (tmp_path / "keys" / "a" / ".1.abc.part").write_bytes(b"unfinished")
    real = os.scandir
    stats: list[str] = []

    class Entry:
        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.name, self.path, self.is_dir = entry.name, entry.path, entry.is_dir
            self.stat = lambda: stats.append(entry.name) or entry.stat()  # type: ignore[func-returns-value]

    monkeypatch.setattr(os, "scandir", lambda path: [Entry(one) for one in real(path)])
    names = sorted(store.keys("a"))
    assert stats == [".1.abc.part"]
    assert names == sorted(key for key, _ in store.entries("a")) and len(names) == 5
