"""What the service does in a second on the bundled model: pictures under a mix of adapters, and requests of the API.

`python -m tests.bench.service` starts real processes three times over (as it comes, without affinity and prefetch, and
the API alone), interleaves what they draw, prints a table, and one line of JSON last. About eight minutes; `--pictures
6 --rounds 1 --arrivals 10 --adapters 8 --seconds 1` shows in a minute what comes out.
"""

import argparse
import json
import logging
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from diffusers.utils import logging as diffusers_logging
from rich.console import Console

from app.commands.client import Client
from app.shared.log import configure
from app.supervisor import Service
from tests.bench.figures import Figure, Samples, quartiles, table
from tests.bench.provenance import provenance
from tests.bench.service.api import api
from tests.bench.service.mix import Mix, files, upload
from tests.bench.service.pictures import Drained, arrive, drain, percentile
from tests.bench.service.variants import DEFAULTS, NEITHER, OFF, service

MIB = 2**20
PLAIN = "no adapters"
AT_LEAST = 0.9
BUSY = 0.7  # of the pictures a second that the service draws without adapters: how fast requests arrive
HELD = 5  # the memory of a worker holds one in so many of the adapters

Tick = Callable[[str], None]


def main() -> None:
    """Measure and print."""
    options = _options()
    configure("error")
    diffusers_logging.set_verbosity_error()
    console = Console(stderr=True)
    about = Figure(part="service", model=f"bundled model, {options.steps} steps")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="radiata-bench-") as name, console.status("starting") as status:
        try:
            figures += _measured(options, Path(name), about, status.update)
        except Exception as error:  # what was measured before is shown all the same
            logging.getLogger("tests.bench").exception("the service's benchmark failed")
            figures.append(replace(about, what="failed", note=f"{type(error).__name__}: {error}"))
    console.print(table("The service", figures))
    settings = {name: value for name, value in vars(options).items() if name != "json"}
    line = {"bench": "service", "settings": settings, **provenance(), "figures": [one.as_json() for one in figures]}
    if options.json:
        options.json.write_text(json.dumps(line) + "\n")
    print(json.dumps(line))


def _measured(options: argparse.Namespace, folder: Path, about: Figure, tick: Tick) -> Iterator[Figure]:
    tick(f"writing {options.adapters} adapters")
    written = files(options.adapters, folder)
    total = sum(path.stat().st_size for path in written)
    common = {"threads": options.threads, "adapter_cache_mb": max(1, total // HELD // MIB), "max_queued": 10**6}
    with ExitStack() as stack:
        services: dict[str, Service] = {}
        for name, settings in {DEFAULTS: {}, NEITHER: OFF}.items():
            tick(f"starting the service {name}")
            services[name] = stack.enter_context(service(folder / f"data-{len(services)}", **common, **settings))
            tick(f"uploading {options.adapters} adapters")
            with Client(services[name].url) as client:
                mix = upload(written, client)
        note = (
            f"{options.adapters} adapters of {total / MIB:.0f} MiB, {common['adapter_cache_mb']} MiB of memory for them"
        )
        yield from _pictures(options, services, mix, replace(about, note=note), tick)
        tick("the API alone")
        yield from api(services[DEFAULTS], mix, replace(about, part="api", family="API alone"), options.seconds)


def _pictures(
    options: argparse.Namespace, services: dict[str, Service], mix: Mix, about: Figure, tick: Tick
) -> Iterator[Figure]:
    runs = {
        PLAIN: (services[DEFAULTS], False),
        DEFAULTS: (services[DEFAULTS], True),
        NEITHER: (services[NEITHER], True),
    }
    drained: dict[str, list[Drained]] = {name: [] for name in runs}
    for turn in range(options.rounds + 1):
        for name, (running, adapted) in runs.items():
            tick(f"a full queue, {name}: {f'round {turn} of {options.rounds}' if turn else 'warming up'}")
            count = options.pictures if turn else 2
            drained[name].append(drain(running, mix.requests(count, options.steps, seed=turn, adapted=adapted)))
    about = replace(about, family="a full queue")
    samples = Samples()
    for name, rounds in drained.items():
        samples.taken[name] = [one.per_second for one in rounds[1:]]
    for name in runs:
        ratio = (
            {"over": PLAIN, "to": PLAIN, "at_least": AT_LEAST if name == DEFAULTS else None} if name != PLAIN else {}
        )
        yield replace(samples.figure(about, name, f"pictures a second, {name}", **ratio), unit="a second")
    for name in runs:
        yield from _costs(name, [timings for one in drained[name][1:] for timings in one.timings], about)
    rate = BUSY * samples.median(PLAIN)
    for name, (running, adapted) in runs.items():
        tick(f"requests that arrive {rate:.2f} times a second, {name}")
        taken = arrive(running, mix.requests(options.arrivals, options.steps, seed=99, adapted=adapted), rate, seed=1)
        said = replace(about, family=f"{rate:.2f} arrive a second", what=f"POST to picture, {name}", note="")
        for percent in (50, 99):
            value = percentile(taken, percent)
            yield replace(said, what=f"{said.what}: p{percent}", value=value, note=f"of {len(taken)} requests")


def _costs(name: str, timings: list[dict[str, float]], about: Figure) -> Iterator[Figure]:
    """What a picture costs beside its drawing, as the engine's own clock has it."""
    for part in ("load", "swap", "sample", "store"):
        values = [one[part] for one in timings]
        low, high = quartiles(values)
        said = f"mean {statistics.fmean(values):.1f}"
        yield replace(
            about, what=f"{part} a picture, {name}", value=statistics.median(values), low=low, high=high, note=said
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.service", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--adapters", type=int, default=50, help="adapters in the mix (default 50)")
    add("--pictures", type=int, default=30, help="pictures of one full queue (default 30)")
    add("--rounds", type=int, default=3, help="full queues of each kind after the one that warms up (default 3)")
    add("--arrivals", type=int, default=60, help="requests of each kind that arrive one by one (default 60)")
    add("--steps", type=int, default=20, help="denoising steps (default 20)")
    add("--threads", type=int, default=1, help="CPU threads of a worker (default 1, so that the API has a core)")
    add("--seconds", type=float, default=5.0, help="of each kind of request to the API alone (default 5)")
    add("--json", type=Path, help="write the line of JSON to a file too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
