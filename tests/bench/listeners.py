"""What a thousand listeners to events cost whoever posts, and the API.

`python -m tests.bench.listeners [--listeners 1000] [--rounds 3] [--seconds 4]` starts Valkey and the API as
`tests.bench.front` does, and posts over a few connections: with no listener, with all on one generation, and with each
on one of its own. Meanwhile ten generations (or that one) take ten steps a second, told by the process that listens.
Prints a table, and one line of JSON last; `API's cores` is what the hub and its streams take while nobody posts.
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from redis import Redis
from rich.console import Console
from rich.table import Table

from app.http.connections import allow_many_connections
from app.shared.events import publish
from app.shared.log import configure
from tests.bench.front import PLAIN, Front, front
from tests.bench.provenance import provenance
from tests.bench.service.wire import ask

STEPPING, EVERY_S = 10, 0.1
KEEP_S = 600
READY_S = 120.0
CALM = "no listener"
SITUATIONS = {CALM: 0, "on one generation": 1, "each on its own": 1000}  # generations that are listened to
AIM = 3.0  # of POST's p95, in the worst of them, to the calm one


def _crowd(url: str, redis_url: str, ids: Sequence[str], count: int, ready: Event, heard: Any) -> None:
    """Listen, and let some of them take steps; never returns."""
    allow_many_connections()
    threading.Thread(target=_step, args=(redis_url, ids[:STEPPING]), daemon=True).start()
    asyncio.run(_listen(url, ids, count, ready, heard))


def _step(redis_url: str, ids: Sequence[str]) -> None:
    redis, step = Redis.from_url(redis_url), 0
    while True:
        step += 1
        with redis.pipeline(transaction=False) as pipe:
            for one in ids:
                publish(pipe, one, "progress", {"step": step, "steps": 10**9}, KEEP_S)
            pipe.execute()
        time.sleep(EVERY_S)


async def _listen(url: str, ids: Sequence[str], count: int, ready: Event, heard: Any) -> None:
    place = urlsplit(url)
    begun: list[None] = []

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        path = f"/v1/generations/{ids[number % len(ids)]}/events"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        begun.append(None)
        if len(begun) == count:
            ready.set()
        while chunk := await reader.read(1 << 16):
            heard.value += chunk.count(b"event: ")

    await asyncio.gather(*map(one, range(count)))


@contextmanager
def crowd(one: Front, ids: Sequence[str], count: int) -> Iterator[Any]:
    """So many listeners, in a process of their own; how many events they have heard."""
    context = multiprocessing.get_context("spawn")
    ready, heard = context.Event(), context.Value("Q", 0)
    arguments = (one.url, one.redis_url, ids, count, ready, heard)
    process = context.Process(target=_crowd, args=arguments, daemon=True)
    process.start()
    try:
        assert ready.wait(READY_S), "not all listeners were answered"
        time.sleep(1.0)  # what had happened before is told
        yield heard
    finally:
        process.kill()
        process.join()
        time.sleep(1.0)  # the API closes what they leave


def measure(one: Front, options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """POST's milliseconds at the median and the 95th percentile, and the API's cores without it, round by round."""
    figures: dict[str, dict[str, list[float]]] = {name: {} for name in SITUATIONS}
    waiting: list[str] = []
    while len(waiting) < options.listeners:
        waiting += _posted(one, 8, 1.0)[1]
    for _ in range(options.rounds):
        for name, generations in SITUATIONS.items():
            ids = waiting[: min(generations, options.listeners)]
            if not ids:
                _keep(figures[name], one, options)
                continue
            with crowd(one, ids, options.listeners) as heard:
                api, before, began = psutil.Process(one.api), heard.value, time.perf_counter()
                spent = sum(api.cpu_times()[:2])
                time.sleep(options.seconds)
                cores = (sum(api.cpu_times()[:2]) - spent) / (time.perf_counter() - began)
                told = (heard.value - before) / (time.perf_counter() - began)
                _keep(figures[name], one, options, cores=cores, told=told)
    return figures


def _keep(of: dict[str, list[float]], one: Front, options: argparse.Namespace, **more: float) -> None:
    milliseconds, _ = _posted(one, options.connections, options.seconds)
    cuts = statistics.quantiles(milliseconds, n=20)
    for name, value in {"p50": cuts[9], "p95": cuts[18], **more}.items():
        of.setdefault(name, []).append(value)


def _posted(one: Front, connections: int, seconds: float) -> tuple[list[float], list[str]]:
    body = json.dumps(PLAIN).encode()
    answers = ask(one.url, "POST", lambda _: "/v1/generations", lambda _: body, connections, seconds)
    assert set(answers.statuses) == {202}, answers.statuses
    return answers.milliseconds, [json.loads(text)["id"] for text in answers.bodies]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listeners", type=int, default=1000, help="of events (default 1,000)")
    parser.add_argument("--rounds", type=int, default=3, help="turns (default 3)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement in a turn (default 4)")
    parser.add_argument("--connections", type=int, default=4, help="that post (default 4)")
    options = parser.parse_args()
    configure("error")
    with tempfile.TemporaryDirectory(prefix="radiata-bench-") as name, front(Path(name)) as one:
        found = measure(one, options)
    figures = {name: {what: statistics.median(values) for what, values in of.items()} for name, of in found.items()}
    for name, of in found.items():
        figures[name]["to_calm"] = statistics.median(
            mine / calm for mine, calm in zip(of["p95"], found[CALM]["p95"], strict=True)
        )
    table = Table("listeners", "POST p50, ms", "p95, ms", "p95 to calm", "events told a second", "API's cores, no POST")
    for name, of in figures.items():
        cells = (of.get(what) for what in ("p50", "p95", "to_calm", "told", "cores"))
        table.add_row(name, *("" if cell is None else f"{cell:,.2f}" for cell in cells))
    Console(stderr=True).print(table)
    print(json.dumps({"bench": "listeners", "settings": vars(options), **provenance(), "figures": figures}))


if __name__ == "__main__":
    main()
