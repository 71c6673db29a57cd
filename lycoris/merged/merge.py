"""Merging changes into weights: each change with the rows that it sees, and the one sum that swap and merge share."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor

from lycoris.algorithms.change import Change
from lycoris.kernels.linalg import finite, largest
from lycoris.kernels.prepared import PreparedChange, WeightView
from lycoris.kernels.scratch import Scratch
from lycoris.merged.write import RowPatch, patch_weight
from lycoris.placement.resolve import Target

Key = TypeVar("Key", bound=Hashable)  # identifies a weight
Mode = Literal["sum", "sequential"]


@dataclass(frozen=True, eq=False)
class WeightPatch(Generic[Key]):
    """One change at one strength, and the rows of weights that it sees, concatenated along dim 0."""

    change: Change
    strength: float
    rows: tuple[tuple[Key, slice], ...]
    whole: bool  # all rows of one weight
    origin: Hashable  # identifies the change: patches of the same origin and strength are the same
    weight_rows: tuple[tuple[Key, slice], ...] = ()  # of the weight, if this changes a bias and is computed from it

    @property
    def keys(self) -> dict[Key, None]:
        """The weights and biases that it sees, each once."""
        return dict.fromkeys(key for key, _ in (*self.rows, *self.weight_rows))


def weight_patch(
    target: Target, strength: float, origin: Hashable, keys: Mapping[tuple[str, str], Key]
) -> WeightPatch[Key]:
    """Return the patch of a target's change. keys: (component, name) of a parameter -> its key."""
    rows, weight_rows = (
        tuple((keys[target.component, each.parameter], slice(each.start, each.stop)) for each in view.rows)
        if view
        else ()
        for view in (target.view, target.weight_view)
    )
    return WeightPatch(target.change, strength, rows, target.view.whole, origin, weight_rows)


@dataclass(frozen=True, eq=False)
class Weight:
    """One weight to be patched: the tensor to write, and the pristine value."""

    live: Tensor
    pristine: Tensor  # the same shape, on any device, in a dtype that loses nothing
    largest: float  # absolute value in it

    @classmethod
    def of(cls, pristine: Tensor) -> "Weight":
        """Return a weight that will be written to new memory, uninitialised so far."""
        return cls(torch.empty_like(pristine, memory_format=torch.contiguous_format), pristine, largest(pristine))


Prepare = Callable[[WeightPatch[Any], WeightView, Scratch], PreparedChange]


def prepare_afresh(patch: WeightPatch[Any], weight: WeightView, scratch: Scratch) -> PreparedChange:
    """Return the patch's change prepared for a weight, without a cache."""
    return patch.change.prepare(weight, scratch)


def patch_weights(
    weights: Mapping[Key, Weight],
    patches: Sequence[WeightPatch[Key]],
    scratch: Scratch,
    mode: Mode = "sum",
    prepare: Prepare = prepare_afresh,
) -> list[Key]:
    """Write every weight with the patches applied, in their order; return the weights that are not finite.

    Both swap and merge call this, so the same weights and patches give the same bits.
    """
    if mode == "sequential" and len(patches) > 1:
        return _in_sequence(weights, patches)
    patches = [_with_weight(weights, patch) for patch in patches]
    by_weight: dict[Key, list[RowPatch]] = {key: [] for key in weights}
    for number, patch in enumerate(patches):
        weight = _view(weights, patch)
        prepared, strength = prepare(patch, weight, scratch), patch.strength
        if prepared.row_multiple > 1 and not patch.whole:  # rows computed together lie in several weights
            prepared, strength = _computed(prepared, strength, weight, scratch, f"patch {number}"), 1.0
        start = 0
        for key, rows in patch.rows:
            by_weight[key].append(RowPatch(prepared, strength, rows, start))
            start += rows.stop - rows.start
    for key in [key for key, some in by_weight.items() if not some]:  # only read, for the change of its bias
        weights[key].live.copy_(weights[key].pristine)
        del by_weight[key]
    return [
        key
        for key, some in by_weight.items()
        if not patch_weight(weights[key].live, weights[key].pristine, weights[key].largest, some, scratch)
    ]


def _with_weight(weights: Mapping[Key, Weight], patch: WeightPatch[Key]) -> WeightPatch[Key]:
    """Return the patch, its change no longer dependent on the weight beside the bias that it changes."""
    if not patch.weight_rows:
        return patch
    live = weights[patch.weight_rows[0][0]].live
    rows = [weights[key].pristine[rows].to(live.device, live.dtype) for key, rows in patch.weight_rows]
    return replace(patch, change=patch.change.with_weight(torch.cat(rows)), weight_rows=())


def _view(weights: Mapping[Key, Weight], patch: WeightPatch[Key]) -> WeightView:
    live = weights[patch.rows[0][0]].live
    if patch.whole:
        return WeightView((weights[patch.rows[0][0]].pristine,), live.device, live.dtype)
    return WeightView(tuple(weights[key].pristine[rows] for key, rows in patch.rows), live.device, live.dtype)


@dataclass(frozen=True, eq=False)
class _Computed(PreparedChange):
    """A change already computed for all rows, at its strength."""

    change: Tensor

    def add(self, change: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        change.add_(self.change[start : start + len(change)])


def _computed(
    prepared: PreparedChange, strength: float, weight: WeightView, scratch: Scratch, name: str
) -> PreparedChange:
    change = scratch.empty(name, weight.shape, weight.device).zero_()
    prepared.add(change, weight.whole(), strength, 0, scratch)
    return _Computed(change)


def _in_sequence(weights: Mapping[Key, Weight], patches: Sequence[WeightPatch[Key]]) -> list[Key]:
    """Apply every patch to the result of the ones before it, in float32; return the weights that are not finite."""
    pristine = {key: weight.pristine.to(weight.live.device, weight.live.dtype) for key, weight in weights.items()}
    changes = summed(pristine, patches, "sequential")
    for key, weight in weights.items():
        weight.live.copy_(pristine[key] + changes[key] if key in changes else weight.pristine)
    return [key for key, weight in weights.items() if not finite(weight.live)]


def summed(pristine: Mapping[Key, Tensor], patches: Sequence[WeightPatch[Key]], mode: Mode) -> dict[Key, Tensor]:
    """Return the change of every weight that the patches change, in float32, differentiable in their factors.

    pristine: every weight that they see, of any float dtype. In order of the patches; mode: as `Patcher.swap` has it.
    """
    changes: dict[Key, Tensor] = {}
    for patch in patches:
        change = patch.change
        if patch.weight_rows:
            change = change.with_weight(torch.cat([pristine[key][rows] for key, rows in patch.weight_rows]))
        parts = [
            pristine[key][rows] + changes[key][rows] if mode == "sequential" and key in changes else pristine[key][rows]
            for key, rows in patch.rows
        ]
        for key, _ in patch.rows:
            if key not in changes:
                changes[key] = torch.zeros_like(
                    pristine[key], dtype=torch.float32, memory_format=torch.contiguous_format
                )
        if patch.whole:
            change.add_change(changes[patch.rows[0][0]], parts[0], patch.strength)
            continue
        present = torch.cat(parts)
        added = torch.zeros_like(present, dtype=torch.float32)
        change.add_change(added, present, patch.strength)
        for (key, rows), part in zip(patch.rows, added.split([len(part) for part in parts]), strict=True):
            changes[key][rows] += part
    return changes


@dataclass(frozen=True, eq=False)
class PatchGroup(Generic[Key]):
    """Weights that must be patched together, because one change sees several of them, and all their patches."""

    keys: tuple[Key, ...]
    patches: tuple[WeightPatch[Key], ...]  # in the order of the stack


def patch_groups(patches: Sequence[WeightPatch[Key]]) -> list[PatchGroup[Key]]:
    """Return the patches in groups, each in the order given; patches with a weight in common are in one group."""
    found = connected([patch.keys for patch in patches])
    return [PatchGroup(keys, tuple(patches[number] for number in numbers)) for keys, numbers in found]


def connected(seen: Sequence[Collection[Key]]) -> list[tuple[tuple[Key, ...], list[int]]]:
    """Return the connected components of keys and the numbers 0, 1, … of those that see them.

    seen: the keys of each number; numbers with a key in common are in one component. Numbers are in order.
    """
    found: dict[Key, tuple[dict[Key, None], list[int]]] = {}
    for number, keys in enumerate(seen):
        met = list({id(found[key]): found[key] for key in keys if key in found}.values())
        group: tuple[dict[Key, None], list[int]] = met[0] if met else ({}, [])
        for other in met[1:]:
            group[0].update(other[0])
            group[1].extend(other[1])
        group[0].update(dict.fromkeys(keys))
        group[1].append(number)
        found |= dict.fromkeys(group[0] if len(met) > 1 else keys, group)
    unique = {id(group): group for group in found.values()}
    return [(tuple(keys), sorted(numbers)) for keys, numbers in unique.values()]
