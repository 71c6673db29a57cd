"""What the API takes and tells in a second, beside what RQ alone takes on the same Redis: nobody draws meanwhile.

`python -m tests.bench.front [--waiting 100000] [--rounds 5] [--seconds 2]` starts Valkey and the API over a temporary
folder, asks in turns (POST, RQ's own `Queue.enqueue`, the list, one generation) over connections that stay open, prints
a table, and one line of JSON last. Beside each rate stands what a second of the API's own CPU gives: that is what other
work on a busy machine changes least.
"""

import argparse
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import psutil
from redis import Redis
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table
from rq import Queue

from app.accepting.fast_acceptance import filled
from app.embedded import address
from app.shared.catalog import Catalog
from app.shared.connection import redis_url
from app.shared.generation_records import begun
from app.shared.generations import Ledger
from app.shared.index import INDEX
from app.shared.job import ID
from app.shared.lifecycle import id_for, live_key
from app.shared.log import configure
from app.shared.profiles import Profiles
from app.shared.queue import GENERATE, SERIALIZER, generation_queue
from app.shared.records import PENDING
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.app.shared.making import MODEL, profile, request, version
from tests.bench.provenance import provenance
from tests.bench.service.wire import ask

PLAIN = {"prompt": "a red apple", "seed": 7}
BODIES = {"POST": PLAIN, "POST with an adapter": PLAIN | {"adapters": [{"ref": "style", "strength": 0.8}]}}
RAW = "RQ alone"
LIST, FEW = 20, 1400
START_S = 60.0
SETTINGS = {"MAX_QUEUED": 10**7, "LOG_LEVEL": "error", "ACCEPT_WITHOUT_WORKER_S": -1}
CHUNK = 1000
COLUMNS = {"per_second": 0, "per_cpu_second": 0, "ratio": 2}


@dataclass
class Rates:
    """Samples by name, round by round: requests a second of the clock, and of the API's CPU."""

    clock: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def ratio(self, name: str) -> float:
        """The median, over rounds, of a rate by that of RQ alone in the same round."""
        return statistics.median(a / b for a, b in zip(self.clock[name], self.clock[RAW], strict=True))


class Front:
    """An API and its Redis, in processes of their own."""

    def __init__(self, url: str, api: int, redis: Redis, settings: Settings) -> None:
        self.url, self.redis_url, self.api, self.redis = url, redis_url(settings), api, redis
        self.ledger = Ledger(Storage(settings.store_url), redis, settings)


class Rating:
    """Asks a front in turns, as often as it answers."""

    def __init__(self, one: Front, options: argparse.Namespace) -> None:
        self._url, self._api, self._redis, self._options = one.url, psutil.Process(one.api), one.redis, options
        self._ledger = one.ledger
        self.rates = Rates()

    def measure(self) -> Rates:
        """Everything, in turns."""
        with httpx.Client(base_url=self._url, trust_env=False) as http:
            for _ in range(LIST):
                one = http.post("/v1/generations", json=PLAIN).raise_for_status().json()
                http.delete(f"/v1/generations/{one['id']}").raise_for_status()
        self._read(0)
        self._fill(FEW)
        self._read(FEW)
        for _ in range(self._options.rounds):
            self._raw()
            for name, body in BODIES.items():
                self._ask(name, "POST", lambda _: "/v1/generations", json.dumps(body).encode())
        self._fill(self._options.waiting)
        self._read(self._options.waiting)
        return self.rates

    def _fill(self, waiting: int) -> None:
        """Let so many wait, in Redis alone: storage is not asked for what is new."""
        queues, base, wanted = self._ledger.queues, profile().fingerprint, request(base=profile().fingerprint)
        queue = generation_queue(MODEL, "normal", base)
        for first in range(queues.waiting(MODEL, "low", base), waiting, CHUNK):
            with self._redis.pipeline(transaction=False) as pipe:
                for _ in range(min(CHUNK, waiting - first)):
                    one = begun(id_for(None), wanted, "normal", None)
                    name = one.generation.id
                    pipe.hset(live_key(name), mapping={"accepted": PENDING.write(one), "status": "queued"})
                    pipe.hset(f"rq:job:{name}", mapping=filled(queues.template(queue), name, ()))  # type: ignore[arg-type]
                    pipe.rpush(f"rq:queue:{queue}", name)
                    self._ledger.index.add(pipe, name, one.generation.created_at)
                pipe.execute()

    def _read(self, waiting: int) -> None:
        newest = [one.decode() for one in self._redis.zrange(INDEX, 0, FEW, desc=True)]  # type: ignore[union-attr]
        ids = [one for one in newest if ID.fullmatch(one)]
        random.Random(7).shuffle(ids)
        oldest = [one.decode() for one in self._redis.zrange(INDEX, 1, LIST + 1)]  # type: ignore[union-attr]
        pages = {"": "", "the oldest ": f"&before={oldest[-1]}"} if len(oldest) > LIST else {"": ""}
        for _ in range(self._options.rounds):
            for which, cursor in pages.items():
                path = f"/v1/generations?limit={LIST}{cursor}"
                self._ask(f"list of {which}{LIST}, {waiting:,} waiting", "GET", lambda _, path=path: path)
            self._ask(f"GET, {waiting:,} waiting", "GET", lambda number: f"/v1/generations/{ids[number % len(ids)]}")

    def _raw(self) -> None:
        queue = Queue("raw", connection=self._redis, serializer=SERIALIZER)
        began, count = time.perf_counter(), 0
        while time.perf_counter() < began + self._options.seconds:
            queue.enqueue(GENERATE, id_for(None))
            count += 1
        self.rates.clock.setdefault(RAW, []).append(count / (time.perf_counter() - began))

    def _ask(self, name: str, method: str, path: Callable[[int], str], body: bytes = b"") -> None:
        before = sum(self._api.cpu_times()[:2])
        answers = ask(self._url, method, path, lambda _: body, self._options.connections, self._options.seconds)
        assert set(answers.statuses) <= {200, 202}, answers.statuses
        spent = sum(self._api.cpu_times()[:2]) - before
        self.rates.clock.setdefault(name, []).append(answers.per_second)
        self.rates.cpu.setdefault(name, []).append(len(answers.milliseconds) / spent)


@contextmanager
def front(folder: Path) -> Iterator[Front]:
    """An API over a folder, on a Redis as `radiata up` starts it."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    where = address(folder / "valkey")
    settings = Settings(data_dir=folder, redis_url=where, max_queued=10**7)  # type: ignore[arg-type]
    storage, redis = Storage(settings.store_url), Redis.from_url(where)
    Profiles(storage, settings).publish(profile(), {})
    variables = {"DATA_DIR": folder, "REDIS_URL": where, "PORT": port, **SETTINGS}
    environment = os.environ | {f"RADIATA_{name}": str(value) for name, value in variables.items()}
    with ExitStack() as stack:
        started = []
        for module, *arguments in (("app.embedded", str(folder / "valkey")), ("app.cli", "api")):
            command = [sys.executable, "-m", module, *arguments]
            process = stack.enter_context(subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL))
            stack.callback(process.terminate)
            started.append(process.pid)
            _wait(redis.ping if module == "app.embedded" else partial(_alive, port))
        Catalog(storage, redis).admit(version("style", b"style"), {})
        yield Front(f"http://127.0.0.1:{port}", started[1], redis, settings)


def _alive(port: int) -> None:
    httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).raise_for_status()


def _wait(call: Callable[[], object]) -> None:
    until = time.monotonic() + START_S
    while True:
        try:
            call()
            return
        except (RedisError, httpx.HTTPError):
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiting", type=int, default=100_000, help="generations that wait at last (default 100,000)")
    parser.add_argument("--rounds", type=int, default=5, help="turns (default 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each kind of request in a turn (default 2)")
    parser.add_argument("--connections", type=int, default=32, help="requests in flight (default 32)")
    options = parser.parse_args()
    configure("error")
    with tempfile.TemporaryDirectory(prefix="radiata-bench-") as name, front(Path(name)) as one:
        rates = Rating(one, options).measure()
    table = Table("what", "a second", "a second of the API's CPU", "÷ RQ alone", title="The front door")
    figures: dict[str, dict[str, float]] = {}
    for name, clock in rates.clock.items():
        figures[name] = {"per_second": statistics.median(clock)}
        if name in rates.cpu:
            figures[name]["per_cpu_second"] = statistics.median(rates.cpu[name])
        if name in BODIES:
            figures[name]["ratio"] = rates.ratio(name)
        cells = [f"{figures[name].get(what, 0):,.{digits}f}" for what, digits in COLUMNS.items()]
        table.add_row(name, *(cell if float(cell.replace(",", "")) else "" for cell in cells))
    Console(stderr=True).print(table)
    print(json.dumps({"bench": "front", "settings": vars(options), **provenance(), "figures": figures}))


if __name__ == "__main__":
    main()
