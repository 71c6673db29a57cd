"""Figures of a benchmark: timed samples, their median and spread, and the aims that they are held to."""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace

import torch
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table. `ratio` is what the aim is about, where there is one; `note` stands where no value can."""

    part: str
    model: str
    family: str = ""  # of the adapters, where it is about some
    what: str = ""
    value: float | None = None
    unit: str = "ms"
    low: float | None = None  # the quartiles of the samples
    high: float | None = None
    ratio: float | None = None
    to: str = ""  # what the ratio is to
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the aim is met, to two decimals as the table shows it; None where there is none."""
        if self.ratio is None or (self.at_most is None and self.at_least is None):
            return None
        shown = round(self.ratio, 2)
        return (self.at_most is None or shown <= self.at_most) and (self.at_least is None or shown >= self.at_least)

    @property
    def aim(self) -> str:
        """The aim and what became of it, in words."""
        if self.met is None:
            return ""
        bounds = [f"≤ {self.at_most:g}×"] if self.at_most is not None else []
        bounds += [f"≥ {self.at_least:g}×"] if self.at_least is not None else []
        return f"{' '.join(bounds)} {'ok' if self.met else 'missed'}"

    def cells(self) -> tuple[str, str, str, str, str]:
        """What, median, quartiles or note, ratio, aim: as tables show them."""
        if self.value is None:
            return (self.what, "—", self.note, "", "")
        spread = "" if self.low is None or self.high is None else f"{number(self.low)} – {number(self.high)}"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}× {self.to}"
        said = "; ".join(filter(None, (spread, self.note)))
        return (self.what, f"{number(self.value)} {self.unit}".strip(), said, ratio, self.aim)

    def as_json(self) -> Mapping[str, object]:
        """What stands in the line of JSON: every field that is not as it is by default."""
        default = {field.name: field.default for field in fields(self)}
        said = {name: value for name, value in asdict(self).items() if value != default[name]}
        rounded = {name: round(value, 5) if isinstance(value, float) else value for name, value in said.items()}
        return rounded if self.met is None else rounded | {"met": self.met}


@dataclass
class Samples:
    """Times in milliseconds, by name, round by round."""

    device: str = "cpu"
    taken: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str, often: int = 1) -> Iterator[None]:
        """Time what is done meanwhile, so often."""
        self._wait()
        begin = time.perf_counter()
        yield
        self._wait()
        self.add(name, 1000 * (time.perf_counter() - begin) / often)

    def add(self, name: str, milliseconds: float) -> None:
        """Enter one sample."""
        self.taken.setdefault(name, []).append(milliseconds)

    def forget(self) -> None:
        """Drop what was taken so far: it was for warming up."""
        self.taken.clear()

    def median(self, name: str) -> float:
        """The middle of the samples."""
        return statistics.median(self.taken[name])

    def ratio(self, name: str, to: str) -> float:
        """The median, over rounds, of one sample by another of the same round."""
        return statistics.median(a / b for a, b in zip(self.taken[name], self.taken[to], strict=True))

    def figure(
        self,
        about: Figure,
        name: str,
        what: str = "",
        over: str = "",
        to: str = "",
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> Figure:
        """The median and quartiles of samples, as a figure; over: the samples that the ratio is to, called `to`."""
        low, high = quartiles(self.taken[name])
        ratio = self.ratio(name, over) if over else None
        facts = replace(about, what=what or name, value=self.median(name), low=low, high=high)
        return replace(facts, ratio=ratio, to=to, at_most=at_most, at_least=at_least)

    def _wait(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The values that a quarter of the samples lie below and above."""
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def table(title: str, figures: Sequence[Figure]) -> Table:
    """The figures of one part, for people."""
    shown = Table("adapter", "what", "median", "quartiles", "ratio", "aim", title=title, title_justify="left")
    before = ""
    for one in figures:
        if one.family != before:
            shown.add_section()
        colour = {True: "[green]", False: "[red]", None: ""}[one.met]
        cells = one.cells()
        shown.add_row(one.family if one.family != before else "", *cells[:-1], f"{colour}{cells[-1]}")
        before = one.family
    return shown


def markdown(figures: Sequence[Figure]) -> str:
    """The same for a README."""
    lines = ["| adapter | what | median | quartiles | ratio | aim |", "|---|---|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join((one.family, *one.cells()))} |" for one in figures)])


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
