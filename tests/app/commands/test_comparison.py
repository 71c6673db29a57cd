"""Every picture of the sheet stands in its own row and column."""

from pathlib import Path

from PIL import Image

from app.commands.comparison import CELL, GAP, LABEL, MARGIN, write


def test_every_picture_is_in_its_place(tmp_path: Path) -> None:
    rows, columns = ["red apple", "a prompt of a good many words"], ["base", "one", "two"]
    pictures = []
    for row in range(len(rows)):
        pictures.append([tmp_path / f"{row}-{column}.png" for column in range(len(columns))])
        for column, path in enumerate(pictures[-1]):
            Image.new("RGB", (64, 64), (100 * row, 80 * column, 50)).save(path)
    write(tmp_path / "sheet.png", rows, columns, pictures)
    with Image.open(tmp_path / "sheet.png") as sheet:
        for row in range(len(rows)):
            for column in range(len(columns)):
                middle = (MARGIN + column * (CELL + GAP) + CELL // 2, LABEL + row * (CELL + GAP) + CELL // 2)
                assert sheet.getpixel(middle) == (100 * row, 80 * column, 50)
