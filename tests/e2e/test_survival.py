"""Law 4: nothing accepted is lost, whichever process is killed; and nothing is left behind at the end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from redis import Redis

from app.supervisor import Service
from tests import samples
from tests.conftest import running
from tests.e2e.drawing import PATIENCE_S, draw, picture, post, upload, wait

LONG = 60  # steps: long enough to be killed in the middle of


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that may be broken."""
    with running(tmp_path_factory.mktemp("own")) as service:
        yield service


@pytest.fixture
def client(own: Service) -> Iterator[httpx.Client]:
    # A connection of its own for each request: servers die here
    with httpx.Client(base_url=own.url, timeout=120, limits=httpx.Limits(max_keepalive_connections=0)) as client:
        yield client


def engine_of(service: Service) -> psutil.Process:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        service.look()
        for child in psutil.Process(service.pids()["worker"]).children(recursive=True):
            if "engine" in child.cmdline():
                return child
        time.sleep(0.1)
    raise AssertionError("no engine")


def looking(service: Service, client: httpx.Client, generation_id: str, *statuses: str) -> dict[str, Any]:
    """Wait while the supervisor does its work, as it does inside `radiata up`."""
    until = time.monotonic() + PATIENCE_S
    generation: dict[str, Any] = {}
    while time.monotonic() < until:
        service.look()
        try:
            # While no API runs, the supervisor's socket takes calls that nobody answers until `look` has started one
            generation = client.get(f"/v1/generations/{generation_id}", timeout=5).json()
        except httpx.TransportError:
            generation = {"status": "nobody answers"}
        if generation.get("status") in (statuses or ("succeeded", "failed", "canceled")):
            return generation
        time.sleep(0.1)
    raise AssertionError(f"still {generation}")


def kill_engine(service: Service) -> None:
    engine_of(service).kill()


def kill_worker(service: Service) -> None:
    os.kill(service.pids()["worker"], signal.SIGKILL)


def kill_api(service: Service) -> None:
    os.kill(service.pids()["api"], signal.SIGKILL)


def kill_valkey(service: Service) -> None:
    os.kill(psutil.Process(service.pids()["valkey"]).children()[0].pid, signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_engine, kill_worker, kill_api, kill_valkey], ids=lambda kill: kill.__name__)
def test_a_process_killed_in_the_middle_loses_nothing(
    own: Service, client: httpx.Client, kill: Callable[[Service], None]
) -> None:
    undisturbed = picture(client, draw(client, steps=LONG))
    running_one = post(client, steps=LONG)
    waiting_one = post(client, seed=8)
    looking(own, client, running_one["id"], "running")
    time.sleep(1.2)  # the append-only file is written every second: what was accepted a second ago survives
    killed = time.monotonic()
    kill(own)
    ended = looking(own, client, running_one["id"])
    assert ended["status"] == "succeeded", ended["error"]
    assert picture(client, ended) == undisturbed
    assert looking(own, client, waiting_one["id"])["status"] == "succeeded"
    took = time.monotonic() - killed
    print(f"{kill.__name__}: both done {took:.1f} s after the kill")


def test_an_engine_that_dies_on_every_try_ends_its_generation(own: Service, client: httpx.Client) -> None:
    doomed = post(client, steps=150, count=4)
    for _ in range(1 + 3):  # the first try and its retries
        looking(own, client, doomed["id"], "running", "failed")
        engine = engine_of(own)
        engine.kill()
        engine.wait(10)
        time.sleep(0.5)
    ended = looking(own, client, doomed["id"])
    assert (ended["status"], ended["error"]["code"]) == ("failed", "worker_died")
    assert looking(own, client, post(client)["id"])["status"] == "succeeded"


def test_an_emptied_redis_loses_neither_work_nor_adapters_nor_pictures(own: Service, client: httpx.Client) -> None:
    assert upload(client, samples.file("locon"), "kept").is_success
    before = draw(client, adapters=[{"ref": "kept"}])
    running_one = post(client, steps=LONG)
    waiting_one = post(client, seed=9)
    looking(own, client, running_one["id"], "running")
    with Redis.from_url(own.redis_url) as redis:
        redis.flushall()
    for generation in (running_one, waiting_one):
        assert looking(own, client, generation["id"])["status"] == "succeeded"
    assert client.get(f"/v1/generations/{before['id']}").json() == before
    assert picture(client, draw(client, adapters=[{"ref": "kept"}])) == picture(client, before)
    listed = [one["id"] for one in client.get("/v1/generations").json()["generations"]]
    assert {before["id"], running_one["id"], waiting_one["id"]} <= set(listed)


def test_the_whole_tree_killed_and_started_again_finishes_every_job(tmp_path: Path) -> None:
    with running(tmp_path) as first, httpx.Client(base_url=first.url, timeout=60) as client:
        accepted = [post(client, steps=LONG, seed=seed)["id"] for seed in range(3)]
        wait(client, accepted[0], "running")
        time.sleep(1.2)
        tree = [child for pid in first.pids().values() for child in everything_below(pid)]
        for process in tree:
            process.kill()
        psutil.wait_procs(tree, timeout=20)
    with running(tmp_path) as second, httpx.Client(base_url=second.url, timeout=60) as client:
        for generation_id in accepted:
            assert looking(second, client, generation_id)["status"] == "succeeded"


def everything_below(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [*process.children(recursive=True), process]


def test_a_stop_leaves_no_process_behind(tmp_path: Path) -> None:
    with running(tmp_path) as service, httpx.Client(base_url=service.url, timeout=60) as client:
        post(client, steps=LONG)
        tree = [child for pid in service.pids().values() for child in everything_below(pid)]
        assert len(tree) >= 6
    _, alive = psutil.wait_procs(tree, timeout=10)
    assert alive == []


def test_the_command_line_waits_while_the_api_is_started_again(own: Service, tmp_path: Path) -> None:
    out, environment = tmp_path / "a.png", {**os.environ, "HTTP_PROXY": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "app.cli", "generate", "a fox", "--steps", "60", "--count", "2", "-o", str(out)]
    with subprocess.Popen(
        [*command, "--url", own.url], env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as waiting:
        assert waiting.stderr is not None
        assert waiting.stderr.readline().startswith("generation "), "the id is told as soon as there is one"
        kill_api(own)
        until = time.monotonic() + PATIENCE_S
        while waiting.poll() is None and time.monotonic() < until:
            own.look()
            time.sleep(0.1)
        waiting.kill()
        assert waiting.returncode == 0, waiting.stderr.read()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a-{number}.png" for number in (1, 2)]
