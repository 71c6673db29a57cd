"""What is asked for, and when: made up from a few numbers, or read from a file."""

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from math import log
from pathlib import Path

STACKS = {0: 0.10, 1: 0.65, 2: 0.18, 3: 0.07}  # how many adapters a generation has, and how often
SURGE, SURGE_SHARE, SURGE_EVERY_S = 2.5, 0.2, 600.0  # times the rate of the rest, for this part of every ten minutes
PAUSE_S = 5.0  # between two pictures of somebody who draws several with one stack, on average


@dataclass(frozen=True, slots=True)
class Arrival:
    """A generation that is asked for: seconds since the beginning, base model, adapters, whose it is."""

    time: float
    model: str
    adapters: frozenset[str]
    owner: str = ""


@dataclass(frozen=True)
class Demand:
    """What a made-up trace is like.

    adapters: of one base; their popularity is Zipf's, rank ** -zipf.
    rate: generations a second on average, over all bases; the nth base has 1/n of the share of the first.
    run: pictures that somebody draws one after another with the same stack, on average.
    """

    jobs: int
    rate: float
    adapters: int = 1000
    bases: int = 1
    zipf: float = 1.0
    run: float = 3.0
    seed: int = 0


def make(demand: Demand) -> list[Arrival]:
    """A trace in order of time; the same demand makes the same trace."""
    dice = random.Random(demand.seed)
    popularity = list(accumulate(rank**-demand.zipf for rank in range(1, demand.adapters + 1)))
    names = [f"{rank}" for rank in range(1, demand.adapters + 1)]
    models = [f"base-{number}" for number in range(1, demand.bases + 1)]
    shares = list(shares_of(demand.bases))
    arrivals: list[Arrival] = []
    for begin in _begins(demand, dice):
        if len(arrivals) >= demand.jobs:
            break
        (model,) = dice.choices(models, shares)
        (size,) = dice.choices(list(STACKS), list(STACKS.values()))
        stack = frozenset(dice.choices(names, cum_weights=popularity, k=size))
        pictures = 1 + int(log(1 - dice.random()) / log(1 - 1 / demand.run)) if demand.run > 1 else 1
        time = begin
        for _ in range(pictures):
            arrivals.append(Arrival(time, model, stack))
            time += dice.expovariate(1 / PAUSE_S)
    return sorted(arrivals, key=lambda one: one.time)[: demand.jobs]


def shares_of(bases: int) -> Iterator[float]:
    """Which part of all generations is for each base."""
    whole = sum(1 / rank for rank in range(1, bases + 1))
    return (1 / rank / whole for rank in range(1, bases + 1))


def _begins(demand: Demand, dice: random.Random) -> Iterator[float]:
    rest = demand.rate / demand.run / (1 + SURGE_SHARE * (SURGE - 1))
    time = 0.0
    while True:
        surging = time % SURGE_EVERY_S < SURGE_SHARE * SURGE_EVERY_S
        time += dice.expovariate(rest * SURGE if surging else rest)
        yield time


def read(path: Path) -> list[Arrival]:
    """A trace out of lines of `time,model,adapters`: seconds, a name, and adapters joined by `+` (nothing for none).

    A first line that says just those three words is skipped. Raises ValueError with the number of a line that says
    something else.
    """
    arrivals = []
    with path.open(newline="") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if number == 1 and [cell.strip() for cell in row] == ["time", "model", "adapters"]:
                continue
            try:
                time, model, adapters = row
                arrivals.append(Arrival(float(time), model.strip(), frozenset(filter(None, adapters.split("+")))))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: expected time,model,adapters: {error}") from error
    return sorted(arrivals, key=lambda one: one.time)
