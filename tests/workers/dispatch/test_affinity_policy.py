"""Who is next: by likeness to the active stack, within the bounds of what may be passed over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.dispatch.affinity_policy import Limits, Waiting, choose

A, B, C, D = (frozenset({name}) for name in "abcd")
NOTHING: frozenset[str] = frozenset()
LIMITS = Limits(window=4, passes=2, wait_s=10.0)


def chosen(*adapters: frozenset[str], active: frozenset[str] = A | B, resident: frozenset[str] = A | B | D) -> int:
    return choose([Waiting(one) for one in adapters], active, resident, LIMITS, 0.0)


@pytest.mark.parametrize(
    ("adapters", "index"),
    [
        ((C, D, A, A | B), 3),  # just the active adapters
        ((C, D, A, B), 2),  # a part of it, the foremost
        ((C, D, A | B | C), 2),  # more than it
        ((C, D, NOTHING), 1),  # resident
        ((C, NOTHING, D), 1),  # nothing to load either
        ((C, A | C), 0),  # shares something, but is neither part nor more: the head
        ((C, C | D), 0),
        ((C, C, C, C, A | B), 0),  # beyond the window
    ],
)
def test_the_order_of_likeness(adapters: tuple[frozenset[str], ...], index: int) -> None:
    assert chosen(*adapters) == index


def test_a_bare_model_takes_nothing_for_a_likeness() -> None:
    assert chosen(C, A, NOTHING, active=NOTHING, resident=NOTHING) == 2
    assert chosen(C, A, active=NOTHING, resident=NOTHING) == 0
    assert chosen(C, A, active=NOTHING, resident=A) == 1


@pytest.mark.parametrize(
    "due",
    [
        Waiting(C, passed=2, passed_since=0.0),
        Waiting(C, passed=1, passed_since=-10.0),
        Waiting(C, first=True),
    ],
)
def test_one_that_is_due_goes_before_every_likeness(due: Waiting) -> None:
    waiting = [Waiting(C), due, Waiting(A), Waiting(C, passed=9)]
    assert choose(waiting, A, A, LIMITS, 0.0) == 1
    assert choose([Waiting(A), due], A, A, LIMITS, 0.0) == 0, "nobody is passed over by one that stood before"
    almost = Waiting(C, passed=1, passed_since=-9.9)
    assert choose([Waiting(C), almost, Waiting(A)], A, A, LIMITS, 0.0) == 2


def test_a_window_of_one_is_first_come_first_served() -> None:
    assert choose([Waiting(C), Waiting(A)], A, A, Limits(1, 2, 10.0), 0.0) == 0


def test_where_nobody_waits_nobody_is_chosen() -> None:
    with pytest.raises(IndexError):
        choose([], A, A, LIMITS, 0.0)


sets = st.frozensets(st.sampled_from("abcd"), max_size=3)
queues = st.lists(
    st.builds(
        Waiting,
        sets,
        st.integers(0, 3),
        st.none() | st.floats(-12, 0),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@given(queues, sets, sets)
def test_nobody_due_is_ever_passed_over_and_nobody_outside_the_window_taken(
    waiting: list[Waiting], active: frozenset[str], resident: frozenset[str]
) -> None:
    index = choose(waiting, active, resident, LIMITS, 0.0)
    assert 0 <= index < LIMITS.window
    assert not any(one.due(LIMITS, 0.0) for one in waiting[:index])
