"""What it costs that an acceptance lies on the disk: records created a second, by one and many threads.

`python -m tests.bench.flushes [FOLDER]` prints a table, and one line of JSON last.
"""

import argparse
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from app.shared.local_store import LocalStore

THREADS = (1, 2, 4, 8, 16, 32)
SECONDS = 2.0
RECORD = b"x" * 900  # about what an accepted generation is


def rate(folder: Path, threads: int) -> float:
    """Creations a second by so many threads over one store."""
    store = LocalStore(folder)
    store.create("pending/warm", RECORD)
    until = time.perf_counter() + SECONDS

    def create(thread: int) -> int:
        made = 0
        while time.perf_counter() < until:
            store.create(f"pending/{threads}-{thread}-{made}.json", RECORD)
            made += 1
        return made

    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        made = sum(pool.map(create, range(threads)))
    return made / (time.perf_counter() - begun)


def main() -> None:
    """Measure, and say so."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="on the disk that is measured (default: for temporary files)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rates = {threads: rate(Path(folder), threads) for threads in THREADS}
    for threads, a_second in rates.items():
        print(f"{threads:3d} threads  {a_second:8.0f} records/s  {threads / a_second * 1000:6.1f} ms each")
    print(json.dumps({"creates_per_s": {str(threads): round(one) for threads, one in rates.items()}}))


if __name__ == "__main__":
    main()
