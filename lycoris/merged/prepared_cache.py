"""What of a change does not depend on its strength, kept from swap to swap within a budget of bytes."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from lycoris.algorithms.change import Change
from lycoris.kernels.prepared import Ready, Seen
from lycoris.kernels.scratch import Scratch
from lycoris.merged.merge import Piece


@dataclass(eq=False)
class _Entry:
    ready: Ready
    nbytes: int  # beside the adapter's own tensors
    settled: bool = False  # what is found while it is first worn is counted too


class Prepared:
    """Changes made ready, the one worn longest ago forgotten first; with their adapter, they are forgotten at once.

    What is kept is what would be computed again, from the same tensors: it decides no bit.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held: WeakKeyDictionary[Change, _Entry] = WeakKeyDictionary()

    @property
    def nbytes(self) -> int:
        """Bytes held beside what the adapters hold themselves."""
        return sum(entry.nbytes for entry in self._held.values())

    def __call__(self, piece: Piece, seen: Seen, scratch: Scratch) -> Ready:
        """Return the change of a piece made ready for the weight that it sees."""
        entry = self._held.pop(piece.change, None)
        if entry is None:
            ready = piece.change.ready(seen, scratch)
            if not ready.tensors:
                return ready
            entry = _Entry(ready, _own(ready, piece.change))
        elif not entry.settled:
            entry.nbytes, entry.settled = _own(entry.ready, piece.change), True
        self._held[piece.change] = entry  # now the last
        return entry.ready

    def trim(self) -> None:
        """Forget what is beyond the budget."""
        beyond = self.nbytes - self._budget
        for change, entry in list(self._held.items()):
            if beyond <= 0:
                return
            if entry.nbytes:
                del self._held[change]
                beyond -= entry.nbytes

    def forget(self) -> None:
        """Forget everything: the weights are no more what they were."""
        self._held.clear()


def _own(ready: Ready, change: Change) -> int:
    shared = {tensor.data_ptr() for tensor in change.tensors().values()}
    return sum(tensor.nbytes for tensor in ready.tensors if tensor.data_ptr() not in shared)
