"""Requests per second that the API alone holds: its workers are stopped, so nothing is drawn beside it."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import httpx
import psutil

from app.supervisor import Service
from tests.bench.figures import Figure
from tests.bench.service.mix import Mix
from tests.bench.service.pictures import percentile
from tests.bench.service.wire import Answers, ask

CONNECTIONS = 32
BUSY = 0.9  # of a core


def api(running: Service, mix: Mix, about: Figure, seconds: float) -> Iterator[Figure]:
    """POST a generation with an adapter, GET one, list the newest, GET a picture."""
    with httpx.Client(base_url=running.url, timeout=60) as http:
        newest = http.get("/v1/generations").raise_for_status().json()["generations"]
        picture = next(one["images"][0]["url"] for one in newest if one["status"] == "succeeded")
    for name in ("worker", "intake"):
        _stop(running.pids()[name])
    bodies = [json.dumps(body).encode() for body in mix.requests(1000, steps=20, seed=7)]
    posted = _asked(running, "POST", lambda _: "/v1/generations", lambda number: bodies[number % len(bodies)], seconds)
    yield _figure(about, "POST /v1/generations, with adapters", *posted)
    ids = [json.loads(body)["id"] for body in posted[0].bodies if b'"id"' in body]
    paths = {
        "GET /v1/generations/{id}": lambda number: f"/v1/generations/{ids[number % len(ids)]}",
        "GET /v1/generations?limit=20": lambda _: "/v1/generations?limit=20",
        "GET a picture": lambda _: picture,
    }
    for name, path in paths.items():
        yield _figure(about, name, *_asked(running, "GET", path, lambda _: b"", seconds))


def _asked(
    running: Service, method: str, path: Callable[[int], str], body: Callable[[int], bytes], seconds: float
) -> tuple[Answers, float]:
    process = psutil.Process(running.pids()["api"])
    before = sum(process.cpu_times()[:2])
    answers = ask(running.url, method, path, body, CONNECTIONS, seconds)
    return answers, (sum(process.cpu_times()[:2]) - before) / answers.seconds


def _figure(about: Figure, name: str, answers: Answers, api_cpu: float) -> Figure:
    low, high = percentile(answers.milliseconds, 50), percentile(answers.milliseconds, 99)
    said = f"p50 {low:.0f} ms, p99 {high:.0f} ms on {CONNECTIONS} connections; "
    said += f"cores busy: API {api_cpu:.2f}, this client {answers.client_cpu:.2f}"
    if answers.client_cpu > BUSY > api_cpu:
        said += "; limited by this client"
    if bad := {status: count for status, count in answers.statuses.items() if status >= 400}:
        said += f"; refused: {bad}"
    return replace(about, what=name, value=answers.per_second, unit="a second", note=said)


def _stop(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    process = psutil.Process(pid)
    for _ in range(100):
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    process.kill()
