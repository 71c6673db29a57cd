"""Several workers on one queue: nothing is drawn twice, all of it is drawn, and one may be killed in the middle."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from redis import Redis

from app.shared.events import stream_key
from app.supervisor import Service
from tests.conftest import running
from tests.e2e.drawing import PATIENCE_S, post, wait

SAID = "said by the other worker"
ADAPTERS = ("fluent-3d-lora", "fluent-3d-locon", "fluent-3d-loha")


@contextmanager
def another_worker(service: Service, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker as it runs on another machine: it shares Redis and object storage, and nothing else."""
    environment = {**os.environ, "RADIATA_REDIS_URL": service.redis_url, "RADIATA_DATA_DIR": str(folder / "elsewhere")}
    environment |= {"RADIATA_STORAGE_URL": (folder / "store").as_uri(), "RADIATA_LOG_LEVEL": "info"}
    with (folder / SAID).open("wb") as said:
        process = subprocess.Popen([sys.executable, "-m", "workers", "generate"], env=environment, stderr=said)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def held(http: httpx.Client, count: int) -> list[dict[str, Any]]:
    """What the workers hold, as soon as that many are there and at rest."""
    until = time.monotonic() + PATIENCE_S
    workers: list[dict[str, Any]] = []
    while time.monotonic() < until:
        workers = http.get("/v1/workers").json()["workers"]
        if len(workers) == count and all(one["state"] == "idle" for one in workers):
            return workers
        time.sleep(0.1)
    raise AssertionError(workers)


def starts(redis: Redis, generation_id: str) -> int:
    """How often a generation was begun, as its listeners were told."""
    told: Any = redis.xrange(stream_key(generation_id))
    return sum(json.loads(fields[b"data"]).get("status") == "running" for _, fields in told)


def test_two_workers_share_a_queue_and_one_is_killed(tmp_path: Path) -> None:
    with (
        running(tmp_path) as service,
        httpx.Client(base_url=service.url, timeout=60) as http,
        another_worker(service, tmp_path) as other,
        Redis.from_url(service.redis_url) as redis,
    ):
        names = {one["name"] for one in held(http, 2)}
        hashes = {name: http.get(f"/v1/adapters/{name}").json()["sha256"] for name in ADAPTERS}
        told = [json.loads(line) for line in (tmp_path / SAID).read_text().splitlines()]
        (ready,) = [one for one in told if one["event"] == "worker_ready"]
        assert (ready["model"], ready["device"]) == ("emoji-64", "cpu") and ready["base"] and ready["seconds"] > 0
        first = [post(http, steps=2, adapters=[{"ref": ADAPTERS[n % 3]}], seed=n)["id"] for n in range(24)]
        assert all(wait(http, one)["status"] == "succeeded" for one in first)
        assert {starts(redis, one) for one in first} == {1}
        workers = held(http, 2)
        assert {one["name"] for one in workers} == names
        done = {name: int(redis.hget(f"rq:worker:{name}", "successful_job_count") or 0) for name in names}  # type: ignore[arg-type]
        assert sum(done.values()) == len(first) and all(done.values()), done
        for one in workers:
            assert len(one["active"]) == 1 and set(one["active"]) <= set(one["resident"]) <= set(hashes.values())

        second = [post(http, steps=20, adapters=[{"ref": ADAPTERS[n % 3]}], seed=n)["id"] for n in range(8)]
        wait(http, second[0], "running", "succeeded")
        other.kill()
        assert all(wait(http, one)["status"] == "succeeded" for one in second)
        again = [starts(redis, one) for one in second]
        assert sorted(again)[:-1] == [1] * 7 and max(again) <= 2, again
        assert {one["name"] for one in held(http, 1)} < names
