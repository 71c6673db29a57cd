"""What a plan would train of a base, known by the base's layers alone. Without torch, so that a front end has it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from lycoris.errors import Code, PlanRefused, Reason
from lycoris.training import sizes
from lycoris.training.forms import Shapes, Unfit, shapes_of
from lycoris.training.plan import Plan
from lycoris.training.sites import S, Site, chosen


@dataclass(frozen=True)
class Foretold:
    """What is trained: how many layers of each component, and which; how many numbers, and what there is to note."""

    layers: Mapping[str, int]
    names: frozenset[str]
    parameters: int
    notes: tuple[str, ...]


def foretold(sites: Sequence[Site], plan: Plan) -> Foretold:
    """Return what `begin` would begin on these layers; raises PlanRefused as it does."""
    shapes, notes = fitting(sites, plan)
    parameters = sum(prod(shape) for group in shapes.values() for shape in group.values())
    layers = Counter(layer.component for layer in shapes)
    return Foretold(layers, frozenset(layer.name for layer in shapes), parameters, tuple(notes))


def fitting(sites: Iterable[S], plan: Plan) -> tuple[dict[S, Shapes], list[str]]:
    """Return the layers that a plan trains with the shapes of their factors, and what there is to note.

    Raises PlanRefused where no layer can be trained as asked.
    """
    layers, notes = chosen(list(sites), plan)
    sizes.refuse_above_all(plan, layers)
    found: dict[S, Shapes] = {}
    for layer in layers:
        try:
            found[layer] = shapes_of(layer, plan)
        except Unfit as why:
            notes.append(f"{layer.name} is not trained: {why}")
    if not found:
        raise PlanRefused([Reason(Code.MISFIT, "layers", note) for note in notes])
    return found, [*notes, *sizes.notes(plan, found.items())]
