"""The figures of a README: `python -m tests.bench.tables swap.json service.json` prints Markdown.

Where figures are about families of adapters, a family is a row and what was measured is a column.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure, markdown, number

PEERS = ("diffusers", "the LyCORIS library", "numbers left")
GROUPS = {"swaps": "Swaps", "lycoris": "The LyCORIS library", "memory": "Resident memory"}  # by family
PLAIN = {
    "steps": "A denoising step",
    "drift": "What is left after many swaps",
    "soak": "Resident memory over many adapters",
    "service": "Pictures",
    "api": "The API alone",
}
LIMIT = "copy the touched weights once"


def main() -> None:
    """Read the JSON, print the Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="what --json of the benchmarks wrote")
    lines = [json.loads(path.read_text()) for path in parser.parse_args().files]
    print("\n\n".join(tables([figure for line in lines for figure in read(line)])))
    for line in lines:
        settings = ", ".join(f"{name} {value}" for name, value in line["settings"].items())
        print(f"\n{line['date']}, commit {line['commit']}, {line['machine']}, load {line['load']}; {settings}.")


def read(line: dict[str, Any]) -> list[Figure]:
    """The figures of one line of JSON."""
    known = {field.name for field in fields(Figure)}
    return [Figure(**{name: value for name, value in one.items() if name in known}) for one in line["figures"]]


def tables(figures: Sequence[Figure]) -> Iterator[str]:
    """A heading and a table for every part and model."""
    for part, title in (GROUPS | PLAIN).items():
        for model in dict.fromkeys(one.model for one in figures if one.part == part):
            some = [one for one in figures if (one.part, one.model) == (part, model)]
            yield f"**{title}: {model}**"
            if part in PLAIN:
                yield markdown(some)
                continue
            ours = [one for one in some if one.family and not one.what.startswith((*PEERS, "profile"))]
            theirs = [one for one in some if one.family and one.what.startswith(PEERS)]
            yield from (pivot(group) for group in (ours, theirs) if group)
            yield from (f"{one.what}: {_cell(one)}." for one in some if not one.family)
            yield from (
                f"{one.family}, {one.what}: {_cell(one)}{f' {one.note}' if one.value else ''}."
                for one in some
                if one.what.startswith("profile")
            )


def pivot(figures: Sequence[Figure]) -> str:
    """Families down, what was measured across; the median and the ratio in a cell."""
    columns = list(dict.fromkeys(_column(one) for one in figures))
    rows = [f"| adapter | {' | '.join(columns)} |", f"|{'---|' * (len(columns) + 1)}"]
    for family in dict.fromkeys(one.family for one in figures):
        cells = {_column(one): _cell(one) for one in figures if one.family == family}
        rows.append(f"| {family} | {' | '.join(cells.get(column, '') for column in columns)} |")
    return "\n".join(rows)


def _column(figure: Figure) -> str:
    if figure.what.startswith(LIMIT):
        return "the limit"
    if figure.at_least is not None:
        return f"{figure.what}, to {figure.to}"
    return figure.what


def _cell(figure: Figure) -> str:
    if figure.value is None:
        return figure.note
    value = f"{number(figure.value)} {figure.unit}".strip()
    parts = [value, "" if figure.ratio is None else f"{figure.ratio:.2f}×", f"**{figure.aim}**" if figure.aim else ""]
    if figure.what.startswith(LIMIT):
        parts.append(figure.what.partition("(")[2].rstrip(")"))
    if figure.what.startswith("numbers left"):
        parts.append(figure.note.partition(":")[0])
    return ", ".join(filter(None, parts))


if __name__ == "__main__":
    main()
