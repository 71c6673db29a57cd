"""Aims are held to what the table shows, and ratios to samples of the same round."""

from dataclasses import replace

import pytest

from tests.bench.figures import Figure, Samples, markdown
from tests.bench.tables import read, tables


@pytest.mark.parametrize(
    ("ratio", "at_most", "at_least", "met"),
    [
        (2.004, 2.0, None, True),
        (2.006, 2.0, None, False),
        (4.99, None, 5.0, False),
        (5.0, None, 5.0, True),
        (1.0, None, None, None),
        (None, 2.0, None, None),
    ],
)
def test_an_aim_is_met_or_missed_as_shown(
    ratio: float | None, at_most: float | None, at_least: float | None, met: bool | None
) -> None:
    figure = Figure(part="swaps", model="m", value=1.0, ratio=ratio, at_most=at_most, at_least=at_least)
    assert figure.met is met
    assert figure.aim.endswith({True: "ok", False: "missed", None: ""}[met])


def test_a_ratio_is_the_median_of_the_rounds_and_not_of_the_medians() -> None:
    samples = Samples()
    for ours, limit in ((2.0, 1.0), (20.0, 10.0), (9.0, 3.0)):
        samples.add("ours", ours)
        samples.add("limit", limit)
    figure = samples.figure(Figure(part="swaps", model="m"), "ours", over="limit", to="the limit", at_most=2.0)
    assert (figure.value, figure.low, figure.high) == (9.0, 5.5, 14.5)
    assert figure.ratio == 2.0  # a busy minute slows both: 9 / 3 would be the ratio of the medians
    assert figure.met
    assert "2.00× the limit | ≤ 2× ok |" in markdown([figure])


def test_what_could_not_be_measured_is_a_sentence() -> None:
    figure = Figure(part="lycoris", model="m", what="their merge", note="not installed")
    assert "not installed" in markdown([figure])
    assert dict(figure.as_json()) == {"part": "lycoris", "model": "m", "what": "their merge", "note": "not installed"}


def test_figures_survive_their_json() -> None:
    figure = Figure(part="drift", model="m", value=0.0, unit="", ratio=1.5, to="the limit", at_most=1.0)
    assert read({"figures": [dict(figure.as_json())]}) == [figure]


def test_families_stand_in_rows_and_what_was_measured_in_columns() -> None:
    about = Figure(part="swaps", model="m", family="LoRA", to="the limit")
    found = [replace(about, family=family, what="A → B", value=2.0, ratio=1.0) for family in ("LoRA", "LoHa")]
    heading, table = tables(found)
    assert heading == "**Swaps: m**"
    assert table.splitlines()[2:] == ["| LoRA | 2 ms, 1.00× |", "| LoHa | 2 ms, 1.00× |"]
