"""Prepared changes, kept from swap to swap within a budget of bytes, so that another strength costs less."""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from lycoris.algorithms.change import Change
from lycoris.kernels.prepared import PreparedChange, WeightView
from lycoris.kernels.scratch import Scratch
from lycoris.merged.merge import WeightPatch


@dataclass(eq=False)
class _Entry:
    prepared: PreparedChange
    nbytes: int  # beyond the adapter's own tensors
    settled: bool = False  # counted again at the second use: some tensors are computed during the first


class PreparedCache:
    """A cache of prepared changes: least recently used first out, and each only as long as its adapter lives.

    An entry holds what would be computed again from the same tensors, so the cache decides no bit.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held: WeakKeyDictionary[Change, _Entry] = WeakKeyDictionary()

    @property
    def nbytes(self) -> int:
        """Bytes held beyond the adapters' own tensors."""
        return sum(entry.nbytes for entry in self._held.values())

    def __call__(self, patch: WeightPatch[Any], weight: WeightView, scratch: Scratch) -> PreparedChange:
        """Return the patch's change prepared for this weight."""
        entry = self._held.pop(patch.change, None)
        if entry is None:
            prepared = patch.change.prepare(weight, scratch)
            if not prepared.tensors:
                return prepared
            entry = _Entry(prepared, _own_bytes(prepared, patch.change))
        elif not entry.settled:
            entry.nbytes, entry.settled = _own_bytes(entry.prepared, patch.change), True
        self._held[patch.change] = entry  # now the most recently used
        return entry.prepared

    def trim(self) -> None:
        """Drop the least recently used entries until the budget is met."""
        beyond = self.nbytes - self._budget
        for change, entry in list(self._held.items()):
            if beyond <= 0:
                return
            if entry.nbytes:
                del self._held[change]
                beyond -= entry.nbytes

    def forget(self) -> None:
        """Drop every entry, because the weights changed."""
        self._held.clear()


def _own_bytes(prepared: PreparedChange, change: Change) -> int:
    shared = {tensor.data_ptr() for tensor in change.tensors().values()}
    return sum(tensor.nbytes for tensor in prepared.tensors if tensor.data_ptr() not in shared)
