"""The server that `radiata up` brings along, run for real."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, RedisError

from app.embedded import AOF_FOLDER, PID_FILE, address
from app.shared.connection import URL_FILE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@contextmanager
def served(folder: Path) -> Iterator[tuple[Redis, subprocess.Popen[bytes]]]:
    url = address(folder)
    process = subprocess.Popen([sys.executable, "-m", "app.embedded", os.path.relpath(folder, ROOT)], cwd=ROOT)
    try:
        with Redis.from_url(url) as redis:
            until_answered(redis)
            yield redis, process
    finally:
        process.terminate()
        process.wait(20)


def until_answered(redis: Redis) -> bytes | None:
    """What it has under `a`, as soon as it answers."""
    until = time.monotonic() + 60
    while True:
        try:
            return redis.get("a")  # type: ignore[return-value]
        except RedisError:
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.fixture(params=["short", "long" * 30], ids=["socket", "password"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / request.param / 'my "data" #1 ü?%'


def only_mine(path: Path) -> bool:
    return stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_folder_of_any_name_keeps_what_it_was_given(folder: Path) -> None:
    with served(folder) as (redis, _):
        redis.set("a", "b")
    with served(folder) as (redis, _):
        assert redis.get("a") == b"b"


@pytest.mark.parametrize("spoil", [lambda data: data[:40] + b"\0" * 200 + data[40:], lambda data: b"\0" * len(data)])
def test_an_append_only_file_that_is_spoilt_is_set_aside(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    """It is a copy of what storage has: an empty server does, and a service that starts is worth more."""
    folder = tmp_path / "valkey"
    with served(folder) as (redis, _):
        for number in range(100):
            redis.set(f"a{number}", "b")
    file = max((folder / AOF_FOLDER).glob("*.aof"), key=lambda one: one.stat().st_size)
    file.write_bytes(spoil(file.read_bytes()))
    with served(folder) as (redis, _):
        assert redis.dbsize() == 0
        redis.set("a", "b")
    assert (folder / f"{AOF_FOLDER}.spoilt" / file.name).exists()
    with served(folder) as (redis, _):
        assert redis.get("a") == b"b"


def test_no_stranger_is_answered(folder: Path) -> None:
    with served(folder) as (redis, _):
        assert only_mine(folder) and only_mine(folder / URL_FILE) and only_mine(folder / "valkey.conf")
        assert address(folder).startswith(("unix:", "redis:"))
        port = int(redis.config_get("port")["port"])  # type: ignore[index]
        if port:
            with Redis(port=port) as stranger, pytest.raises(AuthenticationError):
                stranger.ping()
        else:
            assert only_mine(folder / "valkey.sock")


def test_an_address_is_kept(folder: Path) -> None:
    assert address(folder) == address(folder)


def test_a_server_that_is_stopped_for_a_while_is_left_alone(folder: Path) -> None:
    with served(folder) as (redis, process):
        pid = int((folder / PID_FILE).read_text())
        os.kill(pid, signal.SIGSTOP)
        time.sleep(3)
        os.kill(pid, signal.SIGCONT)
        assert redis.ping() and process.poll() is None
        assert int((folder / PID_FILE).read_text()) == pid


def test_a_server_that_was_left_behind_is_stopped_first(folder: Path) -> None:
    with served(folder) as (redis, process):
        redis.set("a", "b")
        left = int((folder / PID_FILE).read_text())
        process.kill()
        process.wait()
        os.kill(left, 0)
        with served(folder) as (again, _):
            until = time.monotonic() + 60
            while int((folder / PID_FILE).read_text()) == left:
                assert time.monotonic() < until
                time.sleep(0.05)
            assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE
            assert until_answered(again) == b"b"


def test_its_death_is_told(folder: Path) -> None:
    with served(folder) as (_, process):
        os.kill(int((folder / PID_FILE).read_text()), signal.SIGKILL)
        assert process.wait(30) != 0
