"""The weight that a file means: rows of the model's own parameters, one below the other.

Files and models cut a layer in different ways: a file has one `qkv` where the model has three projections, shift above
scale where the model has scale above shift, or three layers where the model has one. Nothing is ever done to the
factors for that. The change is evaluated on the file's own view of the pristine weights, and its rows are handed back:
exact for every algorithm, for a Kronecker product and a norm across the seam too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lycoris.dialects.row_slice import Part

Shape = tuple[int, ...]


class Rows(NamedTuple):
    """Rows start to stop of one parameter of the model."""

    parameter: str  # as the component names it: "mid_block.attentions.0.proj_in.weight"
    start: int
    stop: int

    def meets(self, other: "Rows") -> bool:
        """Tell whether both hold a row that is the same row of the model."""
        return self.parameter == other.parameter and self.start < other.stop and other.start < self.stop


@dataclass(frozen=True)
class View:
    """One weight or bias as a file sees it."""

    rows: tuple[Rows, ...]  # one below the other
    shape: Shape
    whole: bool  # one parameter, all of it

    @property
    def name(self) -> str:
        """What messages call it: the parameter, or all of them."""
        return " + ".join(self.parameters)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters that it takes rows of, each once."""
        return tuple(dict.fromkeys(rows.parameter for rows in self.rows))


def view(parts: Sequence[Part], parameter: str, shapes: Mapping[str, Shape]) -> View | None:
    """Return the view of a parameter ("weight", "bias") of the module that is made of these parts.

    None if one of the parts has no such parameter, or if their rows are not of one width or cannot be cut so.
    """
    rows: list[Rows] = []
    widths: set[Shape] = set()
    for part in parts:
        name = parameter_of(part.path, parameter, shapes)
        if name is None or not shapes[name] or shapes[name][0] % part.of:
            return None
        step = shapes[name][0] // part.of
        rows.append(Rows(name, part.index * step, (part.index + 1) * step))
        widths.add(shapes[name][1:])
    if len(widths) != 1:
        return None
    whole = len(parts) == 1 and parts[0].of == 1
    return View(tuple(rows), (sum(each.stop - each.start for each in rows), *widths.pop()), whole)


def parameter_of(path: str, parameter: str, shapes: Mapping[str, Shape]) -> str | None:
    """Return the full name of a module's parameter; a parameter that hangs on no layer of its own is its own weight."""
    names = (f"{path}.{parameter}", path) if parameter == "weight" else (f"{path}.{parameter}",)
    return next((name for name in names if name in shapes), None)
