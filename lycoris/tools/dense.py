"""A stack's changes to a model that is a folder of files, computed for a few parameters at a time.

Parameters that one layer of an adapter sees as one weight (a fused qkv) are patched together; all others alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris.algorithms.change import ANY, Change
from lycoris.errors import Code, Reason, StackRefused, not_finite
from lycoris.kernels.linalg import finite
from lycoris.kernels.scratch import Scratch
from lycoris.merged.merge import Mode, Weight, connected, patch_weights, weight_patch
from lycoris.placement.resolve import Index
from lycoris.placement.shapes import Shapes
from lycoris.placement.views import View
from lycoris.stack import AppliedChange, StackEntry, by_sha256, changes_of, plans_of, problems


@dataclass(frozen=True, eq=False)
class ParameterGroup:
    """Parameters of one component that must be patched together, and all their changes, in order."""

    component: str
    parameters: tuple[str, ...]
    changes: tuple[AppliedChange, ...]

    def change(self, pristine: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the change of every parameter, in float32. pristine: the parameters without it.

        Raises StackRefused if float32 cannot hold it.
        """
        changes = {name: torch.zeros(weight.shape, dtype=torch.float32) for name, weight in pristine.items()}
        for one in self.changes:
            target, strength = one.target, one.strength
            view, weight_view, change = target.view, target.weight_view, target.change
            joined = _rows(pristine, view)
            whole = torch.zeros(joined.shape, dtype=torch.float32)
            if weight_view:
                change = change.with_weight(_rows(pristine, weight_view))
            change.add_change(whole, joined, strength)
            parts = whole.split([rows.stop - rows.start for rows in view.rows])
            for rows, part in zip(view.rows, parts, strict=True):
                changes[rows.parameter][rows.start : rows.stop] += part
        refuse_infinite({f"{self.component}.{name}": change for name, change in changes.items()})
        return changes

    def patched(self, pristine: Mapping[str, Tensor], mode: Mode = "sum") -> dict[str, Tensor]:
        """Return every parameter with the changes applied, with the same bits that `Patcher.swap` writes.

        pristine: the parameters without them; the tensors returned are new. Raises StackRefused if one is not finite.
        """
        weights = {name: Weight.of(weight) for name, weight in pristine.items()}
        with torch.no_grad():
            keys = {(self.component, name): name for name in self.parameters}
            patches = [weight_patch(*change[:3], keys) for change in self.changes]
            unfit = patch_weights(weights, patches, Scratch(), mode)
        if unfit:
            raise not_finite(f"{self.component}.{name}" for name in unfit)
        return {name: weight.live for name, weight in weights.items()}


def _rows(pristine: Mapping[str, Tensor], view: View) -> Tensor:
    return torch.cat([pristine[rows.parameter][rows.start : rows.stop] for rows in view.rows])


def groups(stack: Sequence[StackEntry], components: Mapping[str, Shapes], mode: Mode = "sum") -> list[ParameterGroup]:
    """Return all parameters that a stack changes, in groups with their changes; strengths of 0 are left out.

    In a sum the changes are in order of their adapters' sha256, in sequence as the stack is.
    Raises NoPlace, or StackRefused for an adapter that is there twice or a strength that cannot be.
    """
    stack = stack if mode == "sequential" else by_sha256(stack)
    plans = plans_of(stack, Index(components))
    if wrong := list(problems(stack, plans)):
        raise StackRefused(wrong)
    changes = changes_of(stack, plans)
    return [
        ParameterGroup(keys[0][0], tuple(name for _, name in keys), tuple(changes[number] for number in numbers))
        for keys, numbers in connected([tuple(change.target.keys) for change in changes])
    ]


def refuse_infinite(changes: Mapping[str, Tensor]) -> None:
    """Raise StackRefused if a change, given by the name to call it by, is not finite: factors can be, products not."""
    unfit = [name for name, change in changes.items() if not finite(change)]
    if unfit:
        raise StackRefused([Reason(Code.NOT_FINITE, name, "the change is not finite") for name in unfit])


def depends_on_weight(change: Change, shape: Sequence[int]) -> bool:
    """True if the change depends on the base weight (DoRA, OFT, (IA)³, …): not additive."""
    if change.needs_weight:
        return True
    assert ANY not in shape
    found: list[Tensor] = []
    for weight in (torch.zeros(*shape), torch.ones(*shape)):
        found.append(torch.zeros(*shape))
        change.add_change(found[-1], weight, 1.0)
    return not torch.equal(*found)
