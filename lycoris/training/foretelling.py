"""What a plan would train of a base, known by the base's layers alone. Without torch, so that a front end has it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from lycoris.errors import Code, PlanRefused, Reason
from lycoris.training import sizes
from lycoris.training.forms import Shapes, Unfit, rank_for, shapes_of
from lycoris.training.plan import Plan
from lycoris.training.sites import Site, chosen


@dataclass(frozen=True)
class Foretold:
    """What is trained: how many layers of each component, how many numbers, and what there is to note."""

    layers: Mapping[str, int]
    parameters: int
    notes: tuple[str, ...]


def foretold(sites: Sequence[Site], plan: Plan) -> Foretold:
    """Return what `begin` would begin on these layers; raises PlanRefused as it does."""
    layers, notes = chosen(sites, plan)
    sizes.refuse_above_all(plan, layers)
    begun: dict[Site, Shapes] = {}
    for layer in layers:
        try:
            begun[layer] = shapes_of(layer, plan)
        except Unfit as why:
            notes.append(f"{layer.name} is not trained: {why}")
    if not begun:
        raise PlanRefused([Reason(Code.MISFIT, "layers", note) for note in notes])
    notes += sizes.notes(begun, {layer: rank_for(layer, plan) for layer in begun})
    parameters = sum(prod(shape) for shapes in begun.values() for shape in shapes.values())
    return Foretold(Counter(layer.component for layer in begun), parameters, tuple(notes))
