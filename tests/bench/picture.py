"""The README's picture of the figures: `python -m tests.bench.picture swap.json service.json --out performance.svg`.

An SVG of bars, drawn from the lines of JSON that the benchmarks write; it follows the reader's light or dark page.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import log10
from pathlib import Path
from typing import Any

WIDTH, LEFT, RIGHT, ROW, GAP = 900, 290, 220, 22, 16
BAR = WIDTH - LEFT - RIGHT
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600 } .dim { fill: #656d76 }
.ours { fill: #c8102e } .theirs { fill: #8c959f } .aim { stroke: #1f2328; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .dim { fill: #8d96a0 } .aim { stroke: #e6edf3 }
  .ours { fill: #f0516b } .theirs { fill: #6e7681 }
}"""
Figures = Sequence[dict[str, Any]]
SWAPS = {
    "A → B, B never": True,
    "the LyCORIS library, onfly_merge": False,
    "diffusers + PEFT: load + set": False,
}  # beginnings of figures, and whether they are ours
SAID = {
    "the LyCORIS library, onfly_merge": "the LyCORIS library, merge alone",
    "diffusers + PEFT: load + set": "diffusers + PEFT, load to unload",
}


@dataclass(frozen=True)
class Bar:
    """One bar: its length as a number, what stands beside it, and the aim's mark if there is one."""

    label: str
    value: float
    said: str
    ours: bool
    aim: float | None = None


@dataclass(frozen=True)
class Panel:
    """Bars on one scale, of logarithms where they are too far apart for any other."""

    title: str
    bars: tuple[Bar, ...]
    logarithmic: bool = False
    start: float = 0.0

    def length(self, value: float) -> float:
        """Pixels of a bar."""
        most = max(max(bar.value, bar.aim or 0) for bar in self.bars)
        if self.logarithmic:
            return BAR * max(0.0, log10(value / self.start) / log10(most / self.start))
        return BAR * value / most


def main() -> None:
    """Read the JSON, write the SVG."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="what --json of the benchmarks wrote")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.write_text(svg([json.loads(path.read_text()) for path in options.files]))


def svg(lines: Sequence[dict[str, Any]]) -> str:
    """The picture of what stands in these lines of JSON."""
    figures = [figure for line in lines for figure in line["figures"]]
    panels = [panel for panel in (*_swaps(figures), *_steps(figures), _drift(figures), _service(figures)) if panel.bars]
    rows, y = [], 20
    for panel in panels:
        rows.append(f'<text class="title" x="8" y="{y}">{escape(panel.title)}</text>')
        y += 10
        for bar in panel.bars:
            rows += _row(panel, bar, y)
            y += ROW
        y += GAP + 8
    where = "; ".join(
        ", ".join(dict.fromkeys(str(line[fact]) for line in lines)) for fact in ("date", "commit", "machine")
    )
    rows.append(f'<text class="dim" x="8" y="{y}">{escape(where)}. The mark is the aim.</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 12}" width="{WIDTH}" height="{y + 12}"'
    body = "\n".join(rows)
    return f'{head} role="img" aria-label="What a swap costs">\n<style>{STYLE}</style>\n{body}\n</svg>\n'


def _row(panel: Panel, bar: Bar, y: int) -> Iterator[str]:
    length, kind = max(1.0, panel.length(bar.value)), "ours" if bar.ours else "theirs"
    yield f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(bar.label)}</text>'
    yield f'<rect class="{kind}" x="{LEFT}" y="{y + 3}" width="{length:.1f}" height="{ROW - 7}" rx="2"/>'
    if bar.aim is not None:
        x = LEFT + panel.length(bar.aim)
        yield f'<line class="aim" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + ROW - 1}"/>'
    place = LEFT + max(length, panel.length(bar.aim) if bar.aim else 0) + 8
    yield f'<text class="dim" x="{place:.1f}" y="{y + 14}">{escape(bar.said)}</text>'


def _swaps(figures: Figures) -> Iterator[Panel]:
    found = [one for one in figures if one["part"] in ("swaps", "lycoris") and one.get("value") and "family" in one]
    for model in list(dict.fromkeys(one["model"] for one in found))[:1]:  # the first that was measured
        bars = []
        for family in dict.fromkeys(one["family"] for one in found):
            some = [one for one in found if (one["model"], one["family"]) == (model, family)]
            limit = next((one["value"] for one in some if one["what"].startswith("copy the touched")), None)
            bars += [bar for name, ours in SWAPS.items() for bar in _bars(some, name, ours, family, limit)]
        title = f"A swap, in copies of the weights that it touches ({model}; logarithmic)"
        yield Panel(title, tuple(bars), logarithmic=True, start=0.5)


def _bars(some: Figures, name: str, ours: bool, family: str, limit: float | None) -> Iterator[Bar]:
    one = next((one for one in some if one["what"].startswith(name)), None)
    if one is not None:
        # Of a peer in another process the ratio is to the limit there; of a sum there is no ratio to the limit
        ratio = one["ratio"] if one["to"].startswith("the limit") else one["value"] / (limit or 1)
        label = f"{family}: A → B" if ours else SAID[name]
        yield Bar(label, ratio, f"{ratio:.1f}× ({_milliseconds(one['value'])})", ours, one.get("at_most"))


def _steps(figures: Figures) -> Iterator[Panel]:
    found = [one for one in figures if one["part"] == "steps" and "3 adapters" in one["what"] and "ratio" in one]
    for model in dict.fromkeys(one["model"] for one in found):
        bars = tuple(
            Bar(one["what"].removeprefix("a step with "), one["ratio"], f"{one['ratio']:.2f}×", "ours" in one["what"])
            for one in found
            if one["model"] == model
        )
        yield Panel(f"A denoising step, in steps of the plain model ({model})", bars)


def _drift(figures: Figures) -> Panel:
    found = [one for one in figures if one["part"] == "drift" and one.get("value") is not None]
    bars = tuple(
        Bar(
            one["what"].partition(": ")[0].replace(", fuse and unfuse", ""),
            one["value"],
            f"{one['value']:,}" + (f", {one['note'].partition(' of ')[0]} of one adapter" if one["value"] else ""),
            one["what"].startswith("ours"),
        )
        for one in found
        if not one["what"].startswith("adding")
    )
    after = found[0]["note"].partition("adapter ")[2] if found else ""
    return Panel(f"Numbers of the base model that are others {after}: restored, and fused and unfused", bars)


def _service(figures: Figures) -> Panel:
    bars = tuple(
        Bar(
            one["what"].removeprefix("pictures a second, "),
            one["value"],
            f"{one['value']:.2f} a second" + (f", {one['ratio']:.2f}×" if "ratio" in one else ""),
            one["what"].endswith("affinity and prefetch"),
        )
        for one in figures
        if one["what"].startswith("pictures a second")
    )
    return Panel("Pictures a second out of a full queue, fifty adapters asked for as people do", bars)


def _milliseconds(value: float) -> str:
    return f"{value / 1000:.2g} s" if value >= 1000 else f"{value:.0f} ms"


if __name__ == "__main__":
    main()
