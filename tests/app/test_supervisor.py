"""The supervisor starts what died again, and never twice over one folder."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded import PID_FILE
from app.shared.settings import Settings
from app.supervisor import WELL_S, Service, StartFailed, _Child, _only_one

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def child() -> Iterator[_Child]:
    one = _Child("sleeper", SLEEP, dict(os.environ), first_pause_s=0.05)
    one.start()
    yield one
    one.stop(time.monotonic() + 5)
    assert one.process is not None and one.process.poll() is not None


def until_alive_again(child: _Child, dead: int) -> float:
    started = time.monotonic()
    while child.process is None or child.process.pid == dead or child.process.poll() is not None:
        child.look()
        time.sleep(0.005)
        assert time.monotonic() - started < 20
    return time.monotonic() - started


def test_what_dies_is_started_again_with_longer_and_longer_pauses(child: _Child) -> None:
    pauses = []
    for _ in range(3):
        assert child.process is not None
        pid = child.process.pid
        child.process.kill()
        child.process.wait()
        pauses.append((child.pause_s, until_alive_again(child, pid)))
    assert child.deaths == 3
    assert [planned for planned, _ in pauses] == [0.05, 0.1, 0.2]
    assert all(took >= planned for planned, took in pauses), pauses


def test_what_lives_is_left_alone(child: _Child) -> None:
    assert child.process is not None
    pid = child.process.pid
    for _ in range(10):
        child.look()
    assert child.process.pid == pid and child.deaths == 0


def test_what_does_not_stop_is_killed() -> None:
    deaf = (
        f"import signal, time; signal.signal({int(signal.SIGTERM)}, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    )
    child = _Child("deaf", [sys.executable, "-c", deaf], dict(os.environ))
    child.start()
    time.sleep(0.5)
    child.stop(time.monotonic() + 0.2)
    assert child.process is not None and child.process.returncode in (-signal.SIGKILL, -signal.SIGTERM)


def test_one_folder_is_for_one_service(tmp_path: Path) -> None:
    with _only_one(tmp_path), pytest.raises(StartFailed, match="another `radiata up`"), _only_one(tmp_path):
        pass
    with _only_one(tmp_path):
        pass


def test_a_redis_that_does_not_answer_is_said_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.supervisor.time.monotonic", iter(range(0, 10_000, 30)).__next__)
    settings = Settings(data_dir=tmp_path, redis_url="redis://:hunter2@127.0.0.1:9/0")  # type: ignore[arg-type]
    with pytest.raises(StartFailed) as failure, Service(settings).running():
        pass
    assert "hunter2" not in str(failure.value)


def test_what_processes_say_goes_to_a_file_where_one_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = "import sys; print('one'); print('two', file=sys.stderr)"
    for log in (tmp_path / "service.log", None):
        one = _Child("talker", [sys.executable, "-c", said], dict(os.environ), log=log)
        one.start()
        assert one.process is not None and one.process.wait() == 0
        one.stop(time.monotonic())
        assert bool("".join(capfd.readouterr())) is (log is None)
    assert sorted((tmp_path / "service.log").read_text().split()) == ["one", "two"]


def test_a_pause_is_short_again_after_a_long_life(child: _Child) -> None:
    child.pause_s, child.started = 10.0, time.monotonic() - WELL_S - 1
    assert child.process is not None
    pid = child.process.pid
    child.process.kill()
    child.process.wait()
    until_alive_again(child, pid)
    assert child.pause_s == 0.1


@pytest.mark.slow
def test_a_redis_that_dies_before_it_is_ready_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(Settings(data_dir=tmp_path, port=0))  # type: ignore[call-arg]
    monkeypatch.setattr(service, "_wait_redis", lambda: None)
    killed = False

    def kill(waiting: str) -> None:
        nonlocal killed
        pid = tmp_path / "valkey" / PID_FILE
        if not killed and pid.exists() and waiting != "the API":
            killed = True
            os.kill(int(pid.read_text()), signal.SIGKILL)

    with pytest.raises(StartFailed, match="ended with status"), service.running(kill):
        pass
    assert killed
