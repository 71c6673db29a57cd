"""The weight that a file means: rows of the model's own parameters, concatenated along dim 0.

Files and models split layers in different ways: a file has one `qkv` where the model has three projections, shift above
scale where the model has scale above shift, or three layers where the model has one. The factors stay as they are. The
change is computed on the file's own view of the pristine weights, and its rows are returned to the parameters: exact
for every algorithm, also for a Kronecker product and a norm across the boundary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lycoris.dialects.row_slice import RowSlice

Shape = tuple[int, ...]


class Rows(NamedTuple):
    """Rows start to stop of one parameter of the model."""

    parameter: str  # as the component names it: "mid_block.attentions.0.proj_in.weight"
    start: int
    stop: int

    def meets(self, other: "Rows") -> bool:
        """Tell whether both have a row of the model in common."""
        return self.parameter == other.parameter and self.start < other.stop and other.start < self.stop


@dataclass(frozen=True)
class View:
    """One weight or bias as a file has it."""

    rows: tuple[Rows, ...]  # concatenated along dim 0
    shape: Shape
    whole: bool  # one parameter, all of it

    @property
    def name(self) -> str:
        """Its name in messages: the parameter, or all of them."""
        return " + ".join(self.parameters)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters that it takes rows of, each once."""
        return tuple(dict.fromkeys(rows.parameter for rows in self.rows))


def view(slices: Sequence[RowSlice], parameter: str, shapes: Mapping[str, Shape]) -> View | None:
    """Return the view of a parameter ("weight", "bias") of the module that consists of these slices.

    None if one of the modules has no such parameter, if their rows differ in width, or if they cannot be divided so.
    """
    rows: list[Rows] = []
    widths: set[Shape] = set()
    for each in slices:
        name = parameter_of(each.path, parameter, shapes)
        if name is None or not shapes[name] or shapes[name][0] % each.of:
            return None
        step = shapes[name][0] // each.of
        rows.append(Rows(name, each.index * step, (each.index + 1) * step))
        widths.add(shapes[name][1:])
    if len(widths) != 1:
        return None
    whole = len(slices) == 1 and slices[0].of == 1
    return View(tuple(rows), (sum(each.stop - each.start for each in rows), *widths.pop()), whole)


def parameter_of(path: str, parameter: str, shapes: Mapping[str, Shape]) -> str | None:
    """Return the full name of a module's parameter; a bare nn.Parameter counts as its module's weight."""
    names = (f"{path}.{parameter}", path) if parameter == "weight" else (f"{path}.{parameter}",)
    return next((name for name in names if name in shapes), None)
