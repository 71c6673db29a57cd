"""What a page of a list costs among 10,000, 100,000 and 1,000,000 generations, and what an index of them does.

`python -m tests.bench.listing [COUNT …]` prints a table, and one line of JSON last. Segments are written as the service
writes them, over made-up generations; then an empty index reads all of them, and is asked. A page is 50 ids and what is
found beside; reading their records is the same however many there are, and is no part of it.
"""

import argparse
import json
import random
import resource
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from app.shared.index_database import LAST, IndexDatabase
from app.shared.owners import FIRST
from app.shared.rebuild import read_all
from app.shared.segments import LINES, Entry, Segments
from app.shared.storage import Storage
from app.shared.wanted import Wanted
from app.shared.wire.generation import Status

COUNTS = (10_000, 100_000, 1_000_000)
PAGE = 51
TRIES = 50
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = [f"word{number}" for number in range(3000)]
ENDS = [Status.SUCCEEDED] * 90 + [Status.FAILED] * 8 + [Status.CANCELED] * 2


def made_up(number: int, chance: random.Random) -> Entry:
    """A generation, a few seconds after the one before."""
    created = BEGAN + timedelta(seconds=20 * number)
    adapter = f"adapter-{int(chance.paretovariate(0.7)) % 500}"
    return Entry(
        id=f"{int(created.timestamp() * 1000):012x}{chance.getrandbits(80):020x}",
        owner=chance.choice((FIRST, FIRST, "ada", "bob")),
        created_at=created,
        status=chance.choice(ENDS),
        model=chance.choice(("sdxl", "flux", "emoji-64")),
        adapters=[adapter, f"{adapter}:1", f"sha256:{chance.getrandbits(256):064x}"],
        prompt=" ".join(WORDS[int(chance.paretovariate(0.5)) % 3000] for _ in range(14)),
        seed=chance.getrandbits(32),
        metadata={"project": f"p{chance.randint(0, 99)}"},
    )


def measure(folder: Path, count: int) -> dict[str, Any]:
    """Write so many, have an index made, ask it."""
    segments, chance = Segments(Storage((folder / "store").as_uri())), random.Random(count)
    day = BEGAN.date().isoformat()
    for at in range(0, count, LINES):
        text = [made_up(number, chance) for number in range(at, min(count, at + LINES))]
        body = b"".join(one.model_dump_json(exclude_defaults=True).encode() + b"\n" for one in text)
        path = folder / "store" / "index" / f"{day}-{at // LINES + 1}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    begun = time.perf_counter()
    database, names = IndexDatabase(folder / "index.sqlite"), sorted(segments.written())
    for at in range(0, len(names), 32):
        for name, entries in zip(names[at : at + 32], read_all(segments.read, names[at : at + 32]), strict=True):
            database.take(entries or [], name)
    seconds = time.perf_counter() - begun
    deep = database.ended(FIRST, LAST, count)[-count // 8][1]
    asked = {
        "newest": lambda: database.ended(FIRST, LAST, PAGE),
        "deep": lambda: database.ended(FIRST, deep, PAGE),
        **{
            name: lambda wanted=wanted, before=before: database.marked(wanted.marks(FIRST), 0, before, PAGE)
            for name, (wanted, before) in {
                "by status": (Wanted(status=Status.FAILED), LAST),
                "by adapter": (Wanted(adapter="adapter-7"), LAST),
                "by adapter, deep": (Wanted(adapter="adapter-7"), deep),
                "by frequent word": (Wanted(q="word1"), LAST),
                "by rare word": (Wanted(q="word2999"), LAST),
                "by four": (
                    Wanted(status=Status.SUCCEEDED, model="flux", q="word1 word2", metadata={"project": "p5"}),
                    LAST,
                ),
            }.items()
        },
    }
    pages: dict[str, float] = {}
    for name, ask in asked.items():
        times = []
        for _ in range(TRIES):
            begun = time.perf_counter()
            ask()
            times.append(time.perf_counter() - begun)
        pages[name] = round(median(times) * 1000, 3)
    size = sum(one.stat().st_size for one in folder.glob("index.sqlite*"))
    stored = sum(one.stat().st_size for one in (folder / "store" / "index").iterdir())
    return {
        "made_s": round(seconds, 1),
        "index_mb": round(size / 2**20, 1),
        "segments": len(names),
        "segments_mb": round(stored / 2**20, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "page_ms": pages,
    }


def main() -> None:
    """Measure, and say so."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", nargs="*", type=int, default=COUNTS)
    found = {}
    for count in parser.parse_args().counts:
        with tempfile.TemporaryDirectory() as folder:
            found[count] = measure(Path(folder), count)
        print(f"{count:>9,}", found[count], flush=True)
    print(json.dumps({str(count): one for count, one in found.items()}))


if __name__ == "__main__":
    main()
