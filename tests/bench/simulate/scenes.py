"""What is simulated by default: services of several sizes, and the bounds over which the defaults were chosen."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tests.bench.simulate.policies import Chosen, PerStack, Policy
from tests.bench.simulate.service import Costs, Outcome, simulate
from tests.bench.simulate.traces import Arrival, Demand, make
from workers.dispatch.affinity_policy import Limits

# Medians on the bundled model and its own adapters, 20 steps, one core; see README.md
MEASURED = Costs(draw_s=0.62, swap_s=0.02, load_s=0.03, resident=64)
# Not measured here: a base of gigabytes on a card, adapters of 100 MB and more
ASSUMED = Costs(draw_s=2.0, swap_s=0.3, load_s=0.5, resident=64)
FIRST = Limits(window=1, passes=0, wait_s=0.0)
WINDOWS, PASSES, WAITS_S = (1, 4, 16, 64, 256), (16, 64, 256), (0.0, 7.5, 15.0, 30.0, 60.0, 120.0)


@dataclass(frozen=True)
class Scene:
    """A service and what is asked of it."""

    name: str
    trace: Sequence[Arrival]
    workers: int
    costs: Costs


@dataclass(frozen=True)
class Size:
    """A scene with a made-up trace; load: of what the workers could draw if nothing had to be loaded or swapped."""

    name: str
    workers: int
    adapters: int
    bases: int
    jobs: int
    costs: Costs
    load: float = 0.8

    def scene(self, seed: int) -> Scene:
        """The scene, its trace made."""
        rate = self.load * self.workers / self.costs.draw_s
        demand = Demand(self.jobs, rate, adapters=self.adapters, bases=self.bases, seed=seed)
        return Scene(self.name, make(demand), self.workers, self.costs)


SIZES = (
    Size("bundled model, 2 workers", 2, 50, 1, 10_000, MEASURED, load=0.9),
    Size("1 card", 1, 100, 1, 5_000, ASSUMED),
    Size("10 cards", 10, 1_000, 1, 10_000, ASSUMED),
    Size("10 cards, few steps", 10, 1_000, 1, 10_000, replace(ASSUMED, draw_s=0.5)),
    Size("100 cards, 4 bases", 100, 10_000, 4, 40_000, ASSUMED),
    Size("1,000 cards, 8 bases", 1_000, 100_000, 8, 100_000, ASSUMED),
)


def policies(limits: Limits) -> Mapping[str, Callable[[], Policy]]:
    """The ways to queue that are compared."""
    return {"fifo": lambda: Chosen(FIRST), "affinity": lambda: Chosen(limits), "per stack": PerStack}


def compare(scene: Scene, limits: Limits) -> Iterator[tuple[str, Outcome]]:
    """Run one trace under each policy."""
    for name, policy in policies(limits).items():
        yield name, simulate(scene.trace, scene.workers, scene.costs, policy, limits)


def over_windows(scene: Scene, limits: Limits) -> Iterator[tuple[Limits, Outcome]]:
    """Run one trace under affinity with each window and each number of passes; a window of 1 is fifo."""
    for passes in PASSES:
        for window in WINDOWS:
            yield _with(scene, replace(limits, window=window, passes=passes))


def over_waits(scene: Scene, limits: Limits) -> Iterator[tuple[Limits, Outcome]]:
    """Run one trace under affinity with each bound of seconds; of 0 it is fifo."""
    for wait_s in WAITS_S:
        yield _with(scene, replace(limits, wait_s=wait_s))


def _with(scene: Scene, limits: Limits) -> tuple[Limits, Outcome]:
    return limits, simulate(scene.trace, scene.workers, scene.costs, lambda: Chosen(limits), limits)
