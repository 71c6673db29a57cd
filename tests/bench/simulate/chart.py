"""Panels of lines side by side as an SVG, in the manner of `lycoris/tools/chart.py`, on its page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from lycoris.tools.chart import page

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")  # Okabe and Ito, 2008
WIDTH, MARGIN, TOP, PLOT, FOOT = 860, 24, 104, 210, 62  # pixels: of the page, its edge, and from top to bottom
AXIS, GAP = 40, 26  # pixels: for the numbers at the left of a panel, between two panels
TICKS = 4
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1b1b1b } .title { font-size: 17px; font-weight: 600 }
.head { font-size: 13px; font-weight: 600 } .soft { fill: #595959 } .page { fill: #ffffff }
.grid { stroke: #dddddd } .end { text-anchor: end } .middle { text-anchor: middle }
polyline, .line, .level { fill: none; stroke-width: 2 } .level { stroke-dasharray: 5 4 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f0f0 } .soft { fill: #b5b5b5 } .page { fill: #181818 } .grid { stroke: #3a3a3a } }
"""


@dataclass(frozen=True)
class Panel:
    """One drawing: for each name a line over the same places, and levels as dashed lines across."""

    title: str
    places: Sequence[str]
    along: str  # what the places are
    lines: Mapping[str, Sequence[float]]
    levels: Mapping[str, float] = field(default_factory=dict)


def chart(title: str, panels: Sequence[Panel]) -> str:
    """Return the text of an SVG file; a name has one colour in all panels."""
    names = list(dict.fromkeys(name for panel in panels for name in (*panel.lines, *panel.levels)))
    colours = dict(zip(names, COLOURS, strict=False))
    height = TOP + PLOT + FOOT
    scratch = (WIDTH - 2 * MARGIN - GAP * (len(panels) - 1)) / len(panels)
    inside = [
        line for k, panel in enumerate(panels) for line in _panel(panel, MARGIN + k * (scratch + GAP), scratch, colours)
    ]
    told = "; ".join(
        f"{panel.title}: "
        + ", ".join(f"{name} {' '.join(f'{value:.3g}' for value in line)}" for name, line in panel.lines.items())
        for panel in panels
    )
    heading = f'<text class="title" x="{MARGIN}" y="32">{escape(title)}</text>'
    legend = _legend(colours, [name for panel in panels for name in panel.levels])
    return page(title, told, STYLE, (WIDTH, height), [heading, *legend, *inside])


def _legend(colours: Mapping[str, str], levels: Sequence[str]) -> Iterator[str]:
    x = float(MARGIN)
    for name, colour in colours.items():
        kind = "level" if name in levels else "line"
        yield f'<line class="{kind}" x1="{x:.1f}" y1="54" x2="{x + 22:.1f}" y2="54" stroke="{colour}"/>'
        yield f'<text x="{x + 28:.1f}" y="58">{escape(name)}</text>'
        x += 28 + 6.9 * len(name) + 18


def _panel(panel: Panel, x: float, scratch: float, colours: Mapping[str, str]) -> Iterator[str]:
    step = _step(max([*panel.levels.values(), *(value for line in panel.lines.values() for value in line)]))
    left, width, bottom = x + AXIS, scratch - AXIS, TOP + PLOT

    def at(place: int, value: float) -> tuple[float, float]:
        across = left + width * place / max(1, len(panel.places) - 1)
        return across, bottom - PLOT * value / (step * TICKS)

    yield f'<text class="head" x="{x:.0f}" y="{TOP - 18}">{escape(panel.title)}</text>'
    for tick in range(TICKS + 1):
        _, y = at(0, tick * step)
        yield f'<line class="grid" x1="{left:.0f}" y1="{y:.1f}" x2="{left + width:.0f}" y2="{y:.1f}"/>'
        yield f'<text class="soft end" x="{left - 6:.0f}" y="{y + 4:.1f}">{tick * step:g}</text>'
    for place, name in enumerate(panel.places):
        yield f'<text class="soft middle" x="{at(place, 0)[0]:.1f}" y="{bottom + 18}">{escape(name)}</text>'
    yield f'<text class="soft middle" x="{left + width / 2:.1f}" y="{bottom + 38}">{escape(panel.along)}</text>'
    for name, level in panel.levels.items():
        (x1, y), (x2, _) = at(0, level), at(len(panel.places) - 1, level)
        yield f'<line class="level" x1="{x1:.1f}" y1="{y:.1f}" x2="{x2:.1f}" y2="{y:.1f}" stroke="{colours[name]}"/>'
    for name, line in panel.lines.items():
        points = [at(place, value) for place, value in enumerate(line)]
        joined = " ".join(f"{across:.1f},{down:.1f}" for across, down in points)
        yield f'<polyline points="{joined}" stroke="{colours[name]}"/>'
        for (across, down), value in zip(points, line, strict=True):
            told = escape(f"{name}: {value:.3g}")
            place = f'cx="{across:.1f}" cy="{down:.1f}" r="3"'
            yield f'<circle {place} fill="{colours[name]}"><title>{told}</title></circle>'


def _step(most: float) -> float:
    """The smallest round distance of ticks that leaves room for `most`."""
    power = 1.0
    while power * TICKS > most:
        power /= 10
    while True:
        for factor in (1, 2, 2.5, 5):
            if power * factor * TICKS >= most:
                return power * factor
        power *= 10
