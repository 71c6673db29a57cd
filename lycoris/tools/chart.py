"""An anatomy as an SVG: one bar for each block, as long as its share of the change, coloured by kind of layer.

Every value is also text, the colours are those of Okabe and Ito (distinct with any colour vision), and it follows the
reader's light or dark scheme. Names are escaped: they come from a file from outside.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from textwrap import wrap

from lycoris.tools.anatomy import Anatomy, reading
from lycoris.tools.kinds import ATTENTION, CONVOLUTION, FEED_FORWARD, NORM, OTHER, TEXT

COLOURS = {  # Okabe and Ito, 2008
    ATTENTION: "#0072b2",
    FEED_FORWARD: "#56b4e9",
    CONVOLUTION: "#d55e00",
    NORM: "#009e73",
    TEXT: "#cc79a7",
    OTHER: "#999999",
}
WIDTH, MARGIN, LABEL = 800, 20, 190  # pixels: of the page, its edge, the names at the left
COLUMN = 76  # pixels of a column of numbers at the right
TOP, ROW, BAR = 114, 26, 16  # pixels: where the bars begin, from one to the next, their height
GAP = 1  # pixels between two colours
LINE = 108  # characters of a line of text below
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1b1b1b } .title { font-size: 17px; font-weight: 600 }
.soft { fill: #595959 } .page { fill: #ffffff } .track { fill: #ececec } .end { text-anchor: end }
@media (prefers-color-scheme: dark) {
text { fill: #f0f0f0 } .soft { fill: #b5b5b5 } .page { fill: #181818 } .track { fill: #2d2d2d } }
"""


def chart(found: Anatomy, title: str) -> str:
    """Return the anatomy as the text of an SVG file."""
    rows, legend, words = list(_rows(found)), list(_legend(found)), wrap(reading(found), LINE)
    foot = TOP + ROW * len(found.blocks) + 22
    height = foot + 18 * len(words) + MARGIN - 8
    inside = [
        f'<text class="title" x="{MARGIN}" y="36">{escape(title)}</text>',
        *legend,
        *rows,
        *(f'<text class="soft" x="{MARGIN}" y="{foot + 18 * k}">{escape(line)}</text>' for k, line in enumerate(words)),
    ]
    return page(title, _described(found), STYLE, (WIDTH, height), inside)


def page(title: str, description: str, style: str, size: tuple[int, int], inside: Iterable[str]) -> str:
    """Return the text of an SVG file with a title and a description; size: width and height in pixels."""
    width, height = size
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
            ' role="img" aria-labelledby="title description">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="description">{escape(description)}</desc>',
            f"<style>{style}</style>",
            f'<rect class="page" width="{width}" height="{height}"/>',
            *inside,
            "</svg>",
            "",
        )
    )


def _legend(found: Anatomy) -> Iterator[str]:
    shares, x = found.shares(lambda part: part.kind), float(MARGIN)
    for kind in found.kinds:
        text = f"{kind} {shares[kind]:.0%}"
        yield f'<rect x="{x:.0f}" y="56" width="12" height="12" fill="{COLOURS[kind]}"/>'
        yield f'<text x="{x + 18:.0f}" y="67">{escape(text)}</text>'
        x += 18 + 7.7 * len(text) + 12


def _rows(found: Anatomy) -> Iterator[str]:
    by_both, by_block = found.shares(lambda part: (part.block, part.kind)), found.shares(lambda part: part.block)
    longest = max(by_block.values(), default=0) or 1.0
    heads = ["share"] + (["‖Δ‖/‖W‖"] if found.relative() is not None else [])
    full_width = WIDTH - 2 * MARGIN - LABEL - COLUMN * len(heads)
    yield from _numbers(heads, TOP - 8, "end soft")
    for row, block in enumerate(found.blocks):
        y = TOP + ROW * row
        yield f'<text x="{MARGIN}" y="{y + 13}">{escape(block)}</text>'
        yield f'<rect class="track" x="{MARGIN + LABEL}" y="{y}" width="{full_width}" height="{BAR}"/>'
        x = float(MARGIN + LABEL)
        for kind in found.kinds:
            share = by_both.get((block, kind), 0.0)
            width = full_width * share / longest
            if width > GAP:
                tooltip = escape(f"{block}, {kind}: {share:.1%} of the change")
                yield (
                    f'<rect x="{x:.1f}" y="{y}" width="{width - GAP:.1f}" height="{BAR}" fill="{COLOURS[kind]}">'
                    f"<title>{tooltip}</title></rect>"
                )
            x += width
        relative = found.relative(lambda part, block=block: part.block == block)
        columns = [f"{by_block[block]:.1%}"] + ([f"{relative:.2%}"] if relative is not None else [])
        yield from _numbers(columns, y + 13, "end")


def _numbers(columns: Sequence[str], y: int, style: str) -> Iterator[str]:
    for place, text in enumerate(reversed(columns)):
        yield f'<text class="{style}" x="{WIDTH - MARGIN - COLUMN * place}" y="{y}">{escape(text)}</text>'


def _described(found: Anatomy) -> str:
    kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in found.shares(lambda part: part.kind).items())
    blocks = ", ".join(f"{block} {share:.0%}" for block, share in found.shares(lambda part: part.block).items())
    return f"Shares of the change. By kind of layer: {kinds}. By block: {blocks}. {reading(found)}"
