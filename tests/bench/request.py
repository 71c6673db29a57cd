"""What the service costs: `pipe(...)` called directly against the whole request, interleaved in one run.

`python -m tests.bench.request [--runs 30] [--steps 20]` prints a table, and one line of JSON last.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from app.commands.client import Client
from app.shared.log import configure
from app.shared.settings import Settings
from app.supervisor import Service
from tests.bench.provenance import provenance
from workers.models.loading import load

PROMPT = "red apple"
AIM_MS = 60.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30, help="pairs of direct call and request (default 30)")
    parser.add_argument("--steps", type=int, default=20, help="denoising steps (default 20)")
    arguments = parser.parse_args()
    configure("error")
    console = Console()
    with tempfile.TemporaryDirectory(prefix="radiata-bench-") as folder:
        figures = measure(Path(folder), arguments.runs, arguments.steps, console)
    figures |= provenance()
    table = Table("figure", "value", title="One request on the bundled model")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:.1f}" if isinstance(value, float) else str(value))
    console.print(table)
    verdict = "within" if figures["service_cost_ms"] <= AIM_MS else "over"
    console.print(f"service cost {figures['service_cost_ms']:.1f} ms a request: {verdict} the aim of {AIM_MS:.0f} ms")
    print(json.dumps(figures))


def measure(folder: Path, runs: int, steps: int, console: Console) -> dict[str, Any]:
    """Medians in milliseconds, memory in MiB."""
    settings = Settings(data_dir=folder, port=0)  # type: ignore[call-arg]
    if settings.threads:
        torch.set_num_threads(settings.threads)
    pipeline = load(settings.model, settings).pipeline
    started = time.perf_counter()
    with Service(settings).running() as service, Client(service.url) as client:
        cold_start = time.perf_counter() - started
        direct, whole, sampled, reported = [], [], [], []
        for run in track(range(runs + 1), "measuring", console=console):
            before = time.perf_counter()
            pipeline(
                PROMPT,
                num_inference_steps=steps,
                guidance_scale=3.0,
                generator=torch.Generator("cpu").manual_seed(run),
            )
            between = time.perf_counter()
            body = {"prompt": PROMPT, "seed": run, "steps": steps, "guidance_scale": 3.0}
            generation = client.generate(body)
            client.image(generation["images"][0]["url"])
            after = time.perf_counter()
            direct.append((between - before) * 1000)
            whole.append((after - between) * 1000)
            sampled.append(generation["timings_ms"]["sample"])
            reported.append((after - between) * 1000 - sampled[-1])
        memory = {name: resident(pid) for name, pid in service.pids().items()}
    # The first pair warms up
    return {
        "direct_ms": statistics.median(direct[1:]),
        "request_ms": statistics.median(whole[1:]),
        "request_minus_direct_ms": statistics.median(w - d for w, d in zip(whole[1:], direct[1:], strict=True)),
        "sample_ms": statistics.median(sampled[1:]),
        "service_cost_ms": statistics.median(reported[1:]),
        "ratio": statistics.median(whole[1:]) / statistics.median(direct[1:]),
        "cold_start_s": cold_start,
        "resident_mib": memory,
        "threads": torch.get_num_threads(),
        "runs": runs,
        "steps": steps,
    }


def resident(pid: int) -> int:
    """Resident MiB of a process and of those below it."""
    process = psutil.Process(pid)
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]) // 2**20


if __name__ == "__main__":
    main()
