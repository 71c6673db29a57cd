"""Resident memory: of one swap beyond its backups, in a process of its own; and over very many adapters."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from app.shared.storage import Storage
from lycoris import Patcher
from tests.bench.figures import Figure
from tests.bench.swap.bench import Bench, Missing
from tests.bench.swap.families import FAMILIES, kohya, layers
from tests.bench.swap.soaking import Soak, stored
from workers.adapters.cache import AdapterCache

MIB = 2**20
MAPPED = "LoCon"  # the family that is measured with pristine weights in the base's own file too
CACHE_ADAPTERS = 50  # as many as the budget holds


def memory(bench: Bench) -> Iterator[Figure]:
    """Memory of a first swap and the ones after it, and at their peak, beyond the backups of patched weights."""
    if not Path("/proc/self/clear_refs").exists():
        raise Missing("peaks of resident memory are read from Linux's /proc")
    title = bench.subject(twin=False).title
    mapped = [family for family in bench.families if family.startswith(MAPPED)]
    for family, folder in [*((one, "") for one in bench.families), *((one, str(bench.folder)) for one in mapped)]:
        bench.tick(f"{family}, in a process of its own")
        arguments = [bench.model, family, str(bench.dtype).removeprefix("torch."), str(torch.get_num_threads())]
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.swap.memory_process", *arguments, *filter(None, [folder])],
            capture_output=True,
            text=True,
            check=False,
        )
        where = f"{family}, pristine in the base's own file" if folder else family
        about = Figure(part="memory", model=title, family=where, unit="MiB")
        if done.returncode != 0:
            why = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
            yield replace(about, note=f"could not be measured: {why}")
            continue
        found = json.loads(done.stdout.strip().splitlines()[-1])
        backups, model, largest = (found[name] / MIB for name in ("backups", "base", "largest"))
        yield replace(about, what="pristine copies", value=backups, note=f"of {model:,.0f} MiB held before")
        note = f"the largest weight in float32 is {largest:.0f} MiB"
        for what in ("after the first swap", "after four more", "at the peak of all five"):
            if found[what] is not None:
                yield replace(about, what=f"{what}, beside them", value=found[what] / MIB, note=note)


def soak(bench: Bench) -> Iterator[Figure]:
    """Swaps over distinct adapters, each read from storage through the cache with a budget."""
    subject = bench.subject()
    storage = Storage((bench.folder / "store").as_uri())
    family, count = next(iter(FAMILIES)), max(bench.soak // 10, 2)
    bench.tick(f"writing {count:,} adapters")
    adapters = [stored(storage, kohya(layers(family, subject, seed)), seed) for seed in range(count)]
    budget = CACHE_ADAPTERS * (size := len(kohya(layers(family, subject, seed=0))))
    soak = Soak(Patcher({"unet": subject.unet}), AdapterCache(storage, budget), adapters)
    resident = []
    for number in range(bench.soak):
        soak.swap()
        if number % max(bench.soak // 10, 1) == 0 or number == bench.soak - 1:
            bench.tick(f"swap {number:,} of {bench.soak:,}")
            resident.append(soak.resident())
    soak.patcher.restore()
    about = Figure(part="soak", model=subject.title, unit="MiB")
    said = f"{bench.soak:,} swaps over {count:,} adapters of {size / 1e6:.1f} MB, {CACHE_ADAPTERS} of them held"
    for what, place in (("after a tenth", 1), ("half-way", len(resident) // 2), ("at the end", -1)):
        yield replace(about, what=f"resident memory {what}", value=resident[place] / MIB, note=said)
    growth = (resident[-1] - resident[1]) / MIB
    yield replace(about, what="growth from a tenth to the end", value=growth, note="flat is what is wanted")
    yield replace(about, what="numbers changed after restore()", value=subject.changed(), unit="")
