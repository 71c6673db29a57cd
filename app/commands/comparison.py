"""The side-by-side picture: prompts down, adapters across, each column with its name."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

CELL = 144  # pixels a picture is shown at
GAP = 8
LABEL = 40
MARGIN = 120  # room for the prompts, left
INK = "#222222"
PAPER = "#ffffff"


def write(path: Path, rows: Sequence[str], columns: Sequence[str], pictures: Sequence[Sequence[Path]]) -> None:
    """Write a labelled grid: `pictures[row][column]` are PNG files of any size."""
    width = MARGIN + len(columns) * (CELL + GAP) + GAP
    sheet = Image.new("RGB", (width, LABEL + len(rows) * (CELL + GAP) + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for column, name in enumerate(columns):
        middle = MARGIN + column * (CELL + GAP) + CELL // 2
        pen.text((middle, LABEL // 2), name, INK, font, anchor="mm")
    for row, prompt in enumerate(rows):
        top = LABEL + row * (CELL + GAP)
        pen.multiline_text((MARGIN - GAP, top + CELL // 2), _wrap(prompt), INK, font, anchor="rm", align="right")
        for column in range(len(columns)):
            with Image.open(pictures[row][column]) as picture:
                shown = picture.convert("RGB").resize((CELL, CELL), Image.Resampling.LANCZOS)
            sheet.paste(shown, (MARGIN + column * (CELL + GAP), top))
    sheet.save(path)


def _wrap(text: str, width: int = 15) -> str:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
