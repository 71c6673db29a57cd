"""The service as discrete events (SimPy): workers that take, load, swap and draw, and what came of it."""

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import simpy

from tests.bench.simulate.policies import Policy
from tests.bench.simulate.traces import Arrival
from workers.dispatch.affinity_policy import Limits


@dataclass(frozen=True)
class Costs:
    """Seconds of one generation: to draw it, to swap to its stack, to bring one adapter into memory.

    resident: adapters that a worker's memory holds, least recently used go first.
    """

    draw_s: float
    swap_s: float
    load_s: float
    resident: int


@dataclass(frozen=True)
class Outcome:
    """What came of a trace, over all bases.

    over_bound: generations that were passed over more often, or for longer, than the limits say; counted from the
    order in which they were begun, not by who chose.
    """

    jobs: int
    swaps_per_job: float
    loads_per_job: float
    wait_p50_s: float
    wait_p99_s: float
    wait_longest_s: float
    most_passed: int
    over_bound: int
    pictures_per_s: float


@dataclass
class _Base:
    """One base model: its queue, the workers that wait for it, and what was noted."""

    policy: Policy
    arrivals: list[Arrival]
    idle: deque[simpy.Event]
    begun: list[tuple[int, float]]  # number of a generation, and when, in order
    swaps: int = 0
    loads: int = 0
    ended: float = 0.0


def simulate(
    trace: Sequence[Arrival], workers: int, costs: Costs, policy: Callable[[], Policy], limits: Limits
) -> Outcome:
    """Run a trace; each base has a policy of its own, and workers in proportion to what is asked of it, at least one.

    limits: what `over_bound` is counted against, whatever the policy.
    """
    by_model: dict[str, list[Arrival]] = {}
    for arrival in trace:
        by_model.setdefault(arrival.model, []).append(arrival)
    environment = simpy.Environment()
    bases = [_Base(policy(), arrivals, deque(), []) for arrivals in by_model.values()]
    for base in bases:
        environment.process(_ask(environment, base))
        for _ in range(max(1, round(workers * len(base.arrivals) / len(trace)))):
            environment.process(_work(environment, base, costs))
    environment.run()
    return _outcome(bases, limits)


def _ask(environment: simpy.Environment, base: _Base) -> Generator[simpy.Event, Any, None]:
    for number, arrival in enumerate(base.arrivals):
        yield environment.timeout(max(0.0, arrival.time - environment.now))
        base.policy.add(number, arrival.adapters, arrival.owner)
        if base.idle:
            base.idle.popleft().succeed()


def _work(environment: simpy.Environment, base: _Base, costs: Costs) -> Generator[simpy.Event, Any, None]:
    active: frozenset[str] = frozenset()
    resident: OrderedDict[str, None] = OrderedDict()
    while True:
        while not base.policy:
            base.idle.append(environment.event())
            yield base.idle[-1]
        number = base.policy.take(active, resident.keys(), environment.now)
        base.begun.append((number, environment.now))
        adapters = base.arrivals[number].adapters
        missing = len(adapters - resident.keys())
        for adapter in sorted(adapters):  # a set of strings has another order in every process
            resident[adapter] = None
            resident.move_to_end(adapter)
        while len(resident) > costs.resident:
            resident.popitem(last=False)
        base.swaps += adapters != active
        base.loads += missing
        yield environment.timeout(missing * costs.load_s + (adapters != active) * costs.swap_s + costs.draw_s)
        active, base.ended = adapters, environment.now


def _outcome(bases: Sequence[_Base], limits: Limits) -> Outcome:
    jobs = sum(len(base.begun) for base in bases)
    waits = sorted(begun - base.arrivals[number].time for base in bases for number, begun in base.begun)
    passed = [one for base in bases for one in passing(base.begun)]
    return Outcome(
        jobs=jobs,
        swaps_per_job=sum(base.swaps for base in bases) / jobs,
        loads_per_job=sum(base.loads for base in bases) / jobs,
        wait_p50_s=waits[jobs // 2],
        wait_p99_s=waits[jobs * 99 // 100],
        wait_longest_s=waits[-1],
        most_passed=max(times for times, _ in passed),
        over_bound=sum(times > limits.passes or seconds > limits.wait_s for times, seconds in passed),
        pictures_per_s=jobs / max(base.ended for base in bases),
    )


def passing(begun: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """How often each generation was passed over, and for how many seconds, from the first time to the last.

    begun: numbers in order of arrival, and times, in the order in which they were begun.
    """
    first: list[float] = [0.0] * len(begun)  # when one with this number or a higher one was first begun
    soonest = float("inf")
    when = dict(begun)
    for number in range(len(begun) - 1, -1, -1):
        soonest = min(soonest, when[number])
        first[number] = soonest
    before: list[int] = []  # numbers begun so far
    latest: list[tuple[int, float]] = []  # of those, numbers falling and times rising: who was last to pass whom
    found = []
    for number, time in begun:
        times = len(before) - bisect_left(before, number)
        insort(before, number)
        place = bisect_left(latest, -number, key=lambda one: -one[0])
        found.append((times, latest[place - 1][1] - first[number] if times else 0.0))
        while latest and latest[-1][0] < number:
            latest.pop()
        latest.append((number, time))
    return found
