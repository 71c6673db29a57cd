"""A profile of one swap: torch's operators, and the Python around them."""

import cProfile
import pstats
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from tests.bench.figures import Figure

ROWS = 8


def profiled(about: Figure, first: Callable[[], None], second: Callable[[], None]) -> Iterator[Figure]:
    """Two swaps to an adapter never applied before: one under torch's profiler, one under Python's."""
    begin = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU]) as taken:
        first()
    wall = 1000 * (time.perf_counter() - begin)
    rows = sorted(taken.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows) / 1000
    said = ", ".join(f"{row.key} {row.self_cpu_time_total / 1000:.3g} ms ({row.count})" for row in rows[:ROWS])
    yield replace(about, what="profile: in torch's operators", value=total, note=f"of {wall:.3g} ms; own time: {said}")
    watch = cProfile.Profile()
    watch.runcall(second)
    stats = pstats.Stats(watch).stats  # type: ignore[attr-defined]  # typeshed hides it
    spent = sorted(stats.items(), key=lambda item: -item[1][2])[:ROWS]
    said = ", ".join(
        f"{Path(file).name}:{name} {1000 * own:.3g} ms ({calls})" for (file, _, name), (calls, _, own, _, _) in spent
    )
    yield replace(about, what="profile: in Python, slowed by the profiler", note=f"own time: {said}")
