"""Affinity against first come, first served, and against a queue for each stack, in simulated time.

`python -m tests.bench.simulate` runs services of six sizes and prints a table, and one line of JSON last; `--plots DIR`
draws what the defaults of the settings were chosen from. With `--trace FILE` (`time,model,adapters`) or `--workers N`
it runs that service instead. The choosing function is the worker's own.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from app.shared.settings import Settings
from tests.bench.provenance import provenance
from tests.bench.simulate.chart import Panel, chart
from tests.bench.simulate.scenes import (
    MEASURED,
    PASSES,
    SIZES,
    WAITS_S,
    WINDOWS,
    Scene,
    Size,
    compare,
    over_waits,
    over_windows,
)
from tests.bench.simulate.service import Outcome
from tests.bench.simulate.traces import read
from workers.dispatch.affinity_policy import Limits

COLUMNS = {
    "swaps_per_job": "swaps/job",
    "loads_per_job": "loads/job",
    "wait_p50_s": "p50 wait, s",
    "wait_p99_s": "p99",
    "wait_longest_s": "longest",
    "most_passed": "passed over at most",
    "over_bound": "jobs over the bounds",
    "pictures_per_s": "pictures/s",
}


def main() -> None:
    """Simulate and print."""
    arguments = _arguments()
    limits = Limits(arguments.window, arguments.passes, arguments.wait_s)
    console = Console(width=130)
    try:
        scenes = list(_scenes(arguments))
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    table = Table("service", "queue", *COLUMNS.values(), title=f"Affinity: {limits}")
    found: list[dict[str, Any]] = []
    for scene in scenes:
        for name, outcome in compare(scene, limits):
            table.add_row(scene.name if name == "fifo" else "", name, *_cells(outcome))
            found.append({"service": scene.name, "queue": name, **asdict(outcome)})
        table.add_section()
    console.print(table)
    if arguments.plots:
        arguments.plots.mkdir(parents=True, exist_ok=True)
        for name, text in _plots(arguments.seed, limits):
            (arguments.plots / name).write_text(text, encoding="utf-8")
    print(json.dumps({"limits": asdict(limits), "outcomes": found, **provenance()}))


def _arguments() -> argparse.Namespace:
    fields = {name: Settings.model_fields[f"affinity_{name}"].default for name in ("window", "passes", "wait_s")}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path, help="file of time,model,adapters (adapters joined by +)")
    parser.add_argument("--workers", type=int, help="with a made-up trace: one service of this size")
    parser.add_argument("--adapters", type=int, default=1000, help="of each base (default 1000)")
    parser.add_argument("--bases", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=10_000, help="length of a made-up trace (default 10000)")
    parser.add_argument("--load", type=float, default=0.8, help="of what the workers could draw (default 0.8)")
    parser.add_argument("--draw-s", type=float, default=MEASURED.draw_s, help=f"(default {MEASURED.draw_s})")
    parser.add_argument("--swap-s", type=float, default=MEASURED.swap_s, help=f"(default {MEASURED.swap_s})")
    parser.add_argument("--load-s", type=float, default=MEASURED.load_s, help=f"(default {MEASURED.load_s})")
    parser.add_argument("--resident", type=int, default=MEASURED.resident, help="adapters that a memory holds")
    parser.add_argument("--window", type=int, default=fields["window"], help=f"(default {fields['window']})")
    parser.add_argument("--passes", type=int, default=fields["passes"], help=f"(default {fields['passes']})")
    parser.add_argument("--wait-s", type=float, default=fields["wait_s"], help=f"(default {fields['wait_s']})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plots", type=Path, help="folder for SVG files")
    return parser.parse_args()


def _scenes(arguments: argparse.Namespace) -> Iterator[Scene]:
    costs = replace(
        MEASURED,
        draw_s=arguments.draw_s,
        swap_s=arguments.swap_s,
        load_s=arguments.load_s,
        resident=arguments.resident,
    )
    if arguments.trace:
        yield Scene(arguments.trace.name, read(arguments.trace), arguments.workers or 1, costs)
    elif arguments.workers:
        shape = (arguments.workers, arguments.adapters, arguments.bases, arguments.jobs)
        yield Size(f"{arguments.workers} workers", *shape, costs, arguments.load).scene(arguments.seed)
    else:
        yield from (size.scene(arguments.seed) for size in SIZES)


def _cells(outcome: Outcome) -> list[str]:
    values = [getattr(outcome, name) for name in COLUMNS]
    return [f"{value:.2f}" if isinstance(value, float) else str(value) for value in values]


def _plots(seed: int, limits: Limits) -> Iterator[tuple[str, str]]:
    ten, one = (next(size for size in SIZES if size.name == name).scene(seed) for name in ("10 cards", "1 card"))
    by_window = list(over_windows(ten, limits))
    per_stack = dict(compare(ten, limits))["per stack"]
    yield (
        "windows.svg",
        chart(
            f"Ten cards, 1,000 adapters: how far a worker looks; for {limits.wait_s:g} s one may be passed over",
            [
                Panel(
                    title,
                    [str(window) for window in WINDOWS],
                    "window (1 is first come, first served)",
                    {
                        f"passed over ≤ {passes} times": [
                            getattr(outcome, field) for given, outcome in by_window if given.passes == passes
                        ]
                        for passes in PASSES
                    },
                    {"a queue for each stack": getattr(per_stack, field)},
                )
                for field, title in {
                    "swaps_per_job": "swaps per generation",
                    "wait_p50_s": "median wait, s",
                    "wait_longest_s": "longest wait, s",
                }.items()
            ],
        ),
    )
    by_wait = [outcome for _, outcome in over_waits(one, limits)]
    yield (
        "waits.svg",
        chart(
            "One card, 100 adapters: for how long a generation may be passed over",
            [
                Panel(title, [f"{wait_s:g}" for wait_s in WAITS_S], "seconds (0 is first come, first served)", lines)
                for title, lines in (
                    ("swaps per generation", {"swaps": [outcome.swaps_per_job for outcome in by_wait]}),
                    (
                        "wait, s",
                        {
                            "longest wait": [outcome.wait_longest_s for outcome in by_wait],
                            "99 of 100 wait less": [outcome.wait_p99_s for outcome in by_wait],
                            "median wait": [outcome.wait_p50_s for outcome in by_wait],
                        },
                    ),
                )
            ],
        ),
    )


if __name__ == "__main__":
    main()
