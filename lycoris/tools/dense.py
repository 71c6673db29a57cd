"""What a stack does to the parameters of a model that is a folder of files, a few parameters at a time.

Parameters that one layer of a file sees as one weight (a fused qkv) are worked on together; all others alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris.algorithms.change import ANY, Change
from lycoris.errors import Code, Reason, StackRefused
from lycoris.kernels.linalg import finite
from lycoris.kernels.scratch import Scratch
from lycoris.merged import merge as outfits
from lycoris.merged.merge import Mode, Weight, put_on, together
from lycoris.placement.resolve import Index, Target
from lycoris.placement.shapes import Shapes
from lycoris.placement.views import View
from lycoris.stack import StackEntry, by_sha256, not_finite, plans_of, problems


@dataclass(frozen=True, eq=False)
class Piece:
    """One change, the parameters' rows that it sees, and how much of it is worn."""

    target: Target
    strength: float

    @property
    def keys(self) -> list[tuple[str, str]]:
        """The parameters, each with its component."""
        views = filter(None, (self.target.view, self.target.beside))
        return [(self.target.component, name) for view in views for name in view.parameters]


@dataclass(frozen=True, eq=False)
class Group:
    """Parameters of one component that must be worked on together, and all that changes them, in order."""

    component: str
    parameters: tuple[str, ...]
    pieces: tuple[Piece, ...]

    def change(self, pristine: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the change of every parameter, in float32, given what they are without it.

        Raises StackRefused if float32 cannot hold it.
        """
        changes = {name: torch.zeros(weight.shape, dtype=torch.float32) for name, weight in pristine.items()}
        for piece in self.pieces:
            seen, beside, change = piece.target.view, piece.target.beside, piece.target.change
            joined = _rows(pristine, seen)
            whole = torch.zeros(joined.shape, dtype=torch.float32)
            (change.beside(_rows(pristine, beside)) if beside else change).add_change(whole, joined, piece.strength)
            parts = whole.split([rows.stop - rows.start for rows in seen.rows])
            for rows, part in zip(seen.rows, parts, strict=True):
                changes[rows.parameter][rows.start : rows.stop] += part
        refuse_infinite({f"{self.component}.{name}": change for name, change in changes.items()})
        return changes

    def dress(self, pristine: Mapping[str, Tensor], mode: Mode = "sum") -> dict[str, Tensor]:
        """Return every parameter as it is when it wears this, with the very bits that `Patcher.swap` gives it.

        pristine: what they are without it; the tensors returned are new. Raises StackRefused if one is not finite.
        """
        weights = {name: Weight.of(weight) for name, weight in pristine.items()}
        with torch.no_grad():
            unfit = put_on(weights, [_worn(piece, number) for number, piece in enumerate(self.pieces)], Scratch(), mode)
        if unfit:
            raise not_finite(f"{self.component}.{name}" for name in unfit)
        return {name: weight.live for name, weight in weights.items()}


def _rows(pristine: Mapping[str, Tensor], view: View) -> Tensor:
    return torch.cat([pristine[rows.parameter][rows.start : rows.stop] for rows in view.rows])


def _worn(piece: Piece, number: int) -> outfits.Piece[str]:
    target = piece.target
    rows, beside = (
        tuple((rows.parameter, slice(rows.start, rows.stop)) for rows in (view.rows if view else ()))
        for view in (target.view, target.beside)
    )
    return outfits.Piece(target.change, piece.strength, rows, target.view.whole, number, beside)


def groups(stack: Sequence[StackEntry], components: Mapping[str, Shapes], mode: Mode = "sum") -> list[Group]:
    """Return what every parameter that the stack changes is to wear; strengths of 0 are left out.

    In a sum the pieces are in order of their adapters' sha256, in sequence as the stack is.
    Raises NoPlace, or StackRefused for an adapter that is there twice or a strength that cannot be.
    """
    stack = stack if mode == "sequential" else by_sha256(stack)
    plans = plans_of(stack, Index(components))
    if wrong := list(problems(stack, plans)):
        raise StackRefused(wrong)
    pieces = [
        Piece(target, entry.strength_on(target))
        for entry, plan in zip(stack, plans, strict=True)
        for target in plan.targets
    ]
    pieces = [piece for piece in pieces if piece.strength != 0]
    return [
        Group(keys[0][0], tuple(name for _, name in keys), tuple(pieces[number] for number in numbers))
        for keys, numbers in together([piece.keys for piece in pieces])
    ]


def refuse_infinite(changes: Mapping[str, Tensor]) -> None:
    """Raise StackRefused if a change, given by the name to call it by, is not finite: factors can be, products not."""
    unfit = [name for name, change in changes.items() if not finite(change)]
    if unfit:
        raise StackRefused([Reason(Code.NOT_FINITE, name, "the change is not finite") for name in unfit])


def leans_on_weight(change: Change, shape: Sequence[int]) -> bool:
    """Tell whether the change is another one for another weight (DoRA, OFT, (IA)³, …): the opposite of additive."""
    if change.of_weight:
        return True
    assert ANY not in shape
    found: list[Tensor] = []
    for weight in (torch.zeros(*shape), torch.ones(*shape)):
        found.append(torch.zeros(*shape))
        change.add_change(found[-1], weight, 1.0)
    return not torch.equal(*found)
