"""The disk tier gives back only bytes that have their hash, keeps within its bytes, and outlives a kill."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.shared.errors import Unavailable
from workers.adapters.counters import Counters
from workers.adapters.disk import LOCK, PART, DiskTier

PATIENCE_S = 60


class Source:
    """Files by hash, and how often each was fetched."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self._files: dict[str, bytes] = {}

    def add(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        self._files[sha256] = data
        return sha256

    def read(self, disk: DiskTier, sha256: str, pause_s: float = 0.0) -> bytes:
        def fetch() -> bytes:
            self.fetched.append(sha256)
            time.sleep(pause_s)
            return self._files[sha256]

        return disk.get(sha256, fetch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def counters() -> Counters:
    return Counters()


def held(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {LOCK}


def used(folder: Path, sha256: str, seconds_ago: float) -> None:
    then = time.time() - seconds_ago
    os.utime(folder / sha256, (then, then))


def test_a_file_is_fetched_once_and_then_read(folder: Path, source: Source, counters: Counters) -> None:
    disk = DiskTier(folder, 1000, counters)
    sha256 = source.add(b"x" * 100)
    assert [source.read(disk, sha256) for _ in range(3)] == [b"x" * 100] * 3
    assert source.fetched == [sha256] and held(folder) == {sha256}
    assert disk.size(sha256) == 100 and disk.size("0" * 64) is None
    figures = counters.take()
    assert figures.pop("adapter_tier_seconds:disk") > 0
    assert figures == {"adapter_tier_misses:disk": 1, "adapter_tier_hits:disk": 2, "adapter_tier_bytes:disk": 200}


def test_what_was_used_longest_ago_goes_first(folder: Path, source: Source, counters: Counters) -> None:
    disk = DiskTier(folder, 300, counters)
    a, b, c, d = (source.add(bytes([n]) * 100) for n in range(4))
    for age, sha256 in enumerate((a, b, c)):
        source.read(disk, sha256)
        used(folder, sha256, 100 - age)
    source.read(disk, a)  # used again
    source.read(disk, d)
    assert held(folder) == {a, c, d}
    assert counters.take()["adapter_tier_evictions:disk"] == 1


def test_a_file_larger_than_the_budget_is_not_kept_and_drives_nothing_out(
    folder: Path, source: Source, counters: Counters
) -> None:
    disk = DiskTier(folder, 100, counters)
    small, large = source.add(b"x" * 100), source.add(b"x" * 101)
    source.read(disk, small)
    assert source.read(disk, large) == b"x" * 101
    assert held(folder) == {small}


@pytest.mark.parametrize("spoilt", [b"", b"x" * 99, b"y" * 100, b"x" * 101], ids=["empty", "cut", "changed", "longer"])
def test_a_spoilt_file_is_thrown_away_and_fetched_anew(
    folder: Path, source: Source, counters: Counters, spoilt: bytes
) -> None:
    disk = DiskTier(folder, 1000, counters)
    sha256 = source.add(b"x" * 100)
    source.read(disk, sha256)
    (folder / sha256).write_bytes(spoilt)
    assert source.read(disk, sha256) == source.read(disk, sha256) == b"x" * 100
    assert len(source.fetched) == 2 and (folder / sha256).read_bytes() == b"x" * 100


def test_a_file_that_may_not_be_deleted_is_not_in_the_way(
    folder: Path, source: Source, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskTier(folder, 1000, counters)
    sha256 = source.add(b"x" * 100)
    folder.joinpath(sha256).write_bytes(b"y" * 100)

    def not_ours(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", not_ours)
        patch.setattr(Path, "rename", not_ours)
        assert [source.read(disk, sha256) for _ in range(2)] == [b"x" * 100] * 2
    assert source.read(disk, sha256) == b"x" * 100
    assert held(folder) == {sha256} and folder.joinpath(sha256).read_bytes() == b"x" * 100


def test_a_fetch_that_fails_leaves_nothing_and_is_tried_by_the_next(
    folder: Path, source: Source, counters: Counters
) -> None:
    disk = DiskTier(folder, 1000, counters)
    sha256 = source.add(b"x" * 100)

    def fails() -> bytes:
        raise Unavailable("storage_unavailable", "gone")

    with pytest.raises(Unavailable):
        disk.get(sha256, fails)
    assert held(folder) == set()
    assert source.read(disk, sha256) == b"x" * 100


def test_a_disk_that_takes_nothing_is_not_in_the_way(
    folder: Path, source: Source, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskTier(folder, 1000, counters)
    sha256 = source.add(b"x" * 100)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        assert source.read(disk, sha256) == b"x" * 100
    assert held(folder) == set()
    folder.joinpath(LOCK).unlink()
    folder.rmdir()
    assert source.read(disk, sha256) == b"x" * 100
    with pytest.raises(OSError, match="File exists"):
        folder.write_bytes(b"")
        DiskTier(folder, 1000, counters)


# Several who want the same


def test_threads_that_want_the_same_file_fetch_it_once(folder: Path, source: Source, counters: Counters) -> None:
    disks = [DiskTier(folder, 1000, counters) for _ in range(4)]
    sha256 = source.add(b"x" * 100)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: source.read(disks[n % 4], sha256, 0.1), range(8)))
    assert found == [b"x" * 100] * 8 and source.fetched == [sha256]
    assert held(folder) == {sha256}
    figures = counters.take()
    assert (figures["adapter_tier_misses:disk"], figures["adapter_tier_hits:disk"]) == (1, 7)


def test_when_one_of_several_fails_to_fetch_the_next_tries(folder: Path, source: Source, counters: Counters) -> None:
    disk = DiskTier(folder, 1000, counters)
    sha256 = source.add(b"x" * 100)
    entered = threading.Event()

    def fails() -> bytes:
        entered.set()
        time.sleep(0.1)
        raise Unavailable("storage_unavailable", "gone")

    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(disk.get, sha256, fails)
        entered.wait(PATIENCE_S)
        others = [pool.submit(source.read, disk, sha256) for _ in range(4)]
        assert [other.result(PATIENCE_S) for other in others] == [b"x" * 100] * 4
        assert isinstance(first.exception(), Unavailable)
    assert len(source.fetched) == 1


def test_two_that_write_at_once_do_not_take_the_same_room(
    folder: Path, source: Source, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskTier(folder, 150, counters)
    really = DiskTier._make_room

    def slow(self: DiskTier, size: int) -> bool:
        scratch = really(self, size)
        time.sleep(0.1)
        return scratch

    monkeypatch.setattr(DiskTier, "_make_room", slow)
    wanted = [source.add(bytes([number]) * 100) for number in range(2)]
    with ThreadPoolExecutor(2) as pool:
        assert [len(data) for data in pool.map(lambda sha256: source.read(disk, sha256), wanted)] == [100, 100]
    assert len(held(folder)) == 1, held(folder)


PROCESS = """
import sys, time
from pathlib import Path
from workers.adapters.disk import DiskTier
from workers.adapters.counters import Counters
folder, log, budget, pause_s, *files = sys.argv[1:]
disk = DiskTier(Path(folder), int(budget), Counters())
for file in files:
    path = Path(file)
    def fetch():
        with open(log, "a") as stream:
            stream.write(path.name + "\\n")
        time.sleep(float(pause_s))
        return path.read_bytes()
    assert disk.get(path.name, fetch) == path.read_bytes()
"""


def process(*arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROCESS, *map(str, arguments)], cwd=Path(__file__).parents[3])


def files(folder: Path, count: int, size: int) -> list[Path]:
    paths = []
    for number in range(count):
        data = bytes([number]) * size
        paths.append(folder / hashlib.sha256(data).hexdigest())
        paths[-1].write_bytes(data)
    return paths


@pytest.mark.slow
def test_processes_that_want_the_same_files_fetch_each_once(folder: Path, tmp_path: Path) -> None:
    paths, log = files(tmp_path, 3, 1000), tmp_path / "log"
    workers = [process(folder, log, 10_000, 0.2, *paths) for _ in range(3)]
    assert [worker.wait(PATIENCE_S) for worker in workers] == [0, 0, 0]
    assert sorted(log.read_text().split()) == sorted(path.name for path in paths)


@pytest.mark.slow
def test_processes_that_write_at_once_stay_within_the_budget_together(folder: Path, tmp_path: Path) -> None:
    paths, budget = files(tmp_path, 40, 100_000), 500_000
    workers = [process(folder, tmp_path / "log", budget, 0, *paths[start:], *paths[:start]) for start in (0, 13, 27)]
    most = 0
    while any(worker.poll() is None for worker in workers):
        if folder.exists():
            most = max(most, sum(size(entry) for entry in os.scandir(folder)))
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    # What is moved or made between two looks at a folder may be counted twice
    assert most <= budget + 3 * 100_000, f"{most} bytes"
    assert sum(size(entry) for entry in os.scandir(folder)) <= budget
    assert not list(folder.glob(f"*{PART}"))


def size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return 0


KILLED = """
import os, sys
from pathlib import Path
from workers.adapters import disk
from workers.adapters.counters import Counters
folder, sha256, where = sys.argv[1:]
def die(*_): os.kill(os.getpid(), 9)
if where == "fetching": fetch = die
else: fetch = lambda: b"x" * 100
if where == "before writing": disk.DiskTier._write = die
if where == "before renaming": Path.rename = die
disk.DiskTier(Path(folder), 150, Counters()).get(sha256, fetch)
"""


@pytest.mark.parametrize("where", ["fetching", "before writing", "before renaming"])
@pytest.mark.parametrize("restarted", [True, False])
def test_a_writer_that_is_killed_half_way_leaves_nothing_in_the_way(
    folder: Path, source: Source, counters: Counters, where: str, restarted: bool
) -> None:
    sha256 = source.add(b"x" * 100)
    beside = DiskTier(folder, 150, counters)
    command = [sys.executable, "-c", KILLED, str(folder), sha256, where]
    assert subprocess.run(command, cwd=Path(__file__).parents[3]).returncode == -signal.SIGKILL
    assert held(folder) == {f"{sha256}{PART}"}
    if restarted:
        beside = DiskTier(folder, 150, counters)
        assert held(folder) == set()
    assert source.read(beside, sha256) == b"x" * 100
    assert held(folder) == {sha256} and disk_bytes(folder, sha256) == b"x" * 100


def disk_bytes(folder: Path, sha256: str) -> bytes:
    return (folder / sha256).read_bytes()


def test_a_start_leaves_alone_what_another_engine_is_writing(folder: Path, source: Source, counters: Counters) -> None:
    disk = DiskTier(folder, 1000, counters)
    sha256 = source.add(b"x" * 100)
    entered, started = threading.Event(), threading.Event()

    def fetch() -> bytes:
        entered.set()
        started.wait(PATIENCE_S)
        return b"x" * 100

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(disk.get, sha256, fetch)
        entered.wait(PATIENCE_S)
        DiskTier(folder, 1000, counters)
        assert held(folder) == {f"{sha256}{PART}"}
        started.set()
        assert writing.result(PATIENCE_S) == b"x" * 100
    assert held(folder) == {sha256}
