"""The simulator: what it counts is right, and what affinity promises holds over whole traces."""

import random
from collections import Counter
from collections.abc import Set
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.simulate.chart import Panel, chart
from tests.bench.simulate.policies import Chosen, PerStack, Policy
from tests.bench.simulate.scenes import ASSUMED, FIRST, Size, compare
from tests.bench.simulate.service import Costs, Outcome, passing, simulate
from tests.bench.simulate.traces import Arrival, Demand, make, read
from workers.dispatch.affinity_policy import Limits

LIMITS = Limits(window=16, passes=8, wait_s=20.0)
COSTS = Costs(draw_s=2.0, swap_s=1.0, load_s=3.0, resident=1)
A, B = frozenset({"a"}), frozenset({"b"})


def at_once(*stacks: frozenset[str]) -> list[Arrival]:
    return [Arrival(0.0, "base", stack) for stack in stacks]


def run(policy: Policy, *stacks: frozenset[str]) -> Outcome:
    return simulate(at_once(*stacks), 1, COSTS, lambda: policy, LIMITS)


def test_a_short_trace_by_hand() -> None:
    """A and B in turn: each a load (3 s), a swap (1 s) and a drawing (2 s); together, one load and one swap less."""
    turns, together = run(Chosen(FIRST), A, B, A, B), run(Chosen(LIMITS), A, B, A, B)
    assert (turns.swaps_per_job, turns.loads_per_job, turns.wait_longest_s) == (1.0, 1.0, 18.0)
    assert (together.swaps_per_job, together.loads_per_job, together.wait_longest_s) == (0.5, 0.5, 14.0)
    assert (turns.most_passed, together.most_passed) == (0, 1)
    assert turns.pictures_per_s == pytest.approx(4 / 24) and together.pictures_per_s == pytest.approx(4 / 16)


def test_a_queue_for_each_stack_lets_the_others_starve() -> None:
    starved = run(PerStack(), B, *[A] * 20, B)
    assert starved.swaps_per_job * 22 == 2  # both B, then all A
    stuck = run(PerStack(), *[A, B], *[A] * 20)
    assert (stuck.most_passed, stuck.over_bound) == (20, 1)
    assert run(Chosen(LIMITS), *[A, B], *[A] * 20).over_bound == 0


@pytest.mark.parametrize("seed", range(5))
def test_who_passed_whom_is_counted_as_the_definition_says(seed: int) -> None:
    numbers = list(range(60))
    random.Random(seed).shuffle(numbers)
    begun = [(number, float(place**2)) for place, number in enumerate(numbers)]
    expected = []
    for place, (number, _) in enumerate(begun):
        passed = [time for other, time in begun[:place] if other > number]
        expected.append((len(passed), passed[-1] - passed[0] if passed else 0.0))
    assert passing(begun) == expected


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("workers", "adapters", "bases"), [(1, 20, 1), (4, 200, 1), (12, 500, 3)])
def test_nobody_starves_and_there_are_never_more_swaps(seed: int, workers: int, adapters: int, bases: int) -> None:
    scene = Size("small", workers, adapters, bases, 1500, ASSUMED).scene(seed)
    fifo, affinity, per_stack = (outcome for _, outcome in compare(scene, LIMITS))
    print(f"swaps: {fifo.swaps_per_job:.3f} fifo, {affinity.swaps_per_job:.3f} affinity; passed {affinity.most_passed}")
    assert {one.jobs for one in (fifo, affinity, per_stack)} == {1500}
    assert fifo.most_passed == 0
    assert 0 < affinity.most_passed <= LIMITS.passes and affinity.over_bound == 0
    assert affinity.swaps_per_job < fifo.swaps_per_job
    assert affinity.loads_per_job <= fifo.loads_per_job
    assert per_stack.over_bound > 0, "or the bounds above hold by themselves"


def begun(trace: list[Arrival], workers: int = 1) -> list[Arrival]:
    """A trace in the order in which it is begun."""
    order: list[int] = []

    class Noted(Chosen):
        def take(self, active: Set[str], resident: Set[str], now: float) -> int:
            order.append(super().take(active, resident, now))
            return order[-1]

    simulate(trace, workers, COSTS, lambda: Noted(LIMITS), LIMITS)
    return [trace[number] for number in order]


@pytest.mark.parametrize("workers", [1, 4])
def test_a_crowd_of_one_owner_does_not_stop_another(workers: int) -> None:
    """A's thousand wait, all with the active stack; B's one, with another, is passed over no more than A's."""
    crowd = [Arrival(0.0, "base", A, "ada") for _ in range(1000)]
    late = Arrival(10.0, "base", B, "bob")
    before = begun([*crowd, late], workers).index(late)
    begun_by_then = late.time / COSTS.draw_s * workers
    assert begun_by_then / 2 < before <= begun_by_then + LIMITS.passes + 2 * workers


def test_owners_take_turns_and_affinity_keeps_its_bounds() -> None:
    stacks = {"ada": A, "bob": B, "cyd": A | B}
    crowd = [Arrival(0.0, "base", stack, owner) for owner, stack in stacks.items() for _ in range(200)]
    turns = simulate(crowd, 1, COSTS, lambda: Chosen(FIRST), LIMITS)
    affine = simulate(crowd, 1, COSTS, lambda: Chosen(LIMITS), LIMITS)
    shares = Counter(one.owner for one in begun(crowd)[:300])
    assert all(abs(share - 100) <= LIMITS.window + LIMITS.passes for share in shares.values()), shares
    assert turns.swaps_per_job > 0.99 and affine.swaps_per_job < 0.7


@pytest.mark.parametrize("seed", range(2))
def test_one_owner_alone_sees_no_change(seed: int) -> None:
    trace = list(Size("small", 2, 20, 1, 400, ASSUMED).scene(seed).trace)
    owned = [replace(one, owner="ada") for one in trace]
    assert [replace(one, owner="") for one in begun(owned, 2)] == begun(trace, 2)


def test_a_window_of_one_is_fifo() -> None:
    scene = Size("small", 4, 100, 1, 500, ASSUMED).scene(0)
    outcomes = dict(compare(scene, FIRST))
    assert outcomes["affinity"] == outcomes["fifo"]


def test_a_trace_is_the_same_for_the_same_seed_and_as_busy_as_asked() -> None:
    demand = Demand(20_000, rate=5.0, adapters=100, bases=2)
    trace = make(demand)
    assert trace == make(demand) != make(Demand(20_000, rate=5.0, adapters=100, bases=2, seed=1))
    assert len(trace) / trace[-1].time == pytest.approx(5.0, rel=0.1)
    assert [one.time for one in trace] == sorted(one.time for one in trace)
    share = sum(one.model == "base-1" for one in trace) / len(trace)
    assert share == pytest.approx(2 / 3, abs=0.05)
    counts = [sum(f"{rank}" in one.adapters for one in trace) for rank in (1, 10)]
    assert counts[0] / counts[1] == pytest.approx(10, rel=0.3)


def test_a_trace_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("time,model,adapters\n2.5,sdxl,a+b\n1,sd15,\n")
    assert read(file) == [Arrival(1.0, "sd15", frozenset()), Arrival(2.5, "sdxl", frozenset("ab"))]
    for wrong in ("x,sdxl,a\n", "1,sdxl\n"):
        file.write_text("time,model,adapters\n" + wrong)
        with pytest.raises(ValueError, match=r"trace\.csv, line 2"):
            read(file)


def test_a_chart_says_in_words_what_it_draws() -> None:
    text = chart("a < b", [Panel("swaps", ["1", "2"], "window", {"line": [1.0, 0.25]}, {"level": 0.5})])
    assert "a &lt; b" in text and "swaps: line 1 0.25" in text
    assert text.count("<circle") == 2 and text.count("<polyline") == 1
