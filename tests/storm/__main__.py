"""A storm by hand: `python -m tests.storm --seconds 1800 --seed 7`; tells what happened and what broke a law."""

import argparse
import json
import random
import sys
import tempfile
import threading
from pathlib import Path

from tests.storm.clients import Client, Memory
from tests.storm.laws import broken
from tests.storm.scene import ready
from tests.storm.weather import Storm, clock_shim

CLIENTS = 3


def storm(folder: Path, seconds: float, seed: int, long: bool) -> tuple[list[str], Memory, Storm]:
    """Start a service in `folder`, have it stormed for so long, calm it; every law that was broken."""
    with ready(folder, clock_shim(folder) if long else None) as scene:
        memory, over = Memory(), threading.Event()
        clients = [Client(scene.url, memory, f"{seed} {number}", over) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        weather = Storm(scene, seed, long)
        weather.rage(seconds)
        over.set()
        for client in clients:
            client.join(120)
        scene.calm()
        return [*weather.failures, *broken(scene, memory)], memory, weather


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.storm", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    parser.add_argument(
        "--short", action="store_true", help="leave the clock and the supervisor alone, as the gate does"
    )
    parser.add_argument("--keep", type=Path, help="a folder for logs and data, kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="storm-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found, memory, weather = storm(folder, options.seconds, options.seed, not options.short)
    for line in weather.happened:
        print(line)
    for line in memory.slow:
        print(line)
    for answer, count in sorted(memory.answers.items()):
        print(f"{count:6d}  {answer}")
    for what, seconds in memory.seconds.items():
        seconds.sort()
        print(f"{what}: median {seconds[len(seconds) // 2]:.2f} s, longest {seconds[-1]:.2f} s")
    for sentence in found:
        print(f"BROKEN  {sentence}")
    told = {"seed": options.seed, "seconds": options.seconds, "accepted": len(memory.accepted)}
    print(json.dumps(told | {"canceled": len(memory.canceled), "uploads": len(memory.adapters), "broken": len(found)}))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
