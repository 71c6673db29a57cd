"""What weights are to wear: every change with the rows that it sees, and the weights that must be dressed together."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor

from lycoris.algorithms.change import Change
from lycoris.kernels.linalg import finite, largest
from lycoris.kernels.prepared import Ready, Seen
from lycoris.kernels.scratch import Scratch
from lycoris.merged.write import Part, dress

Key = TypeVar("Key", bound=Hashable)  # of a weight
Mode = Literal["sum", "sequential"]


@dataclass(frozen=True, eq=False)
class Piece(Generic[Key]):
    """One change, how much of it is worn, and the rows of weights that it sees, one below the other."""

    change: Change
    strength: float
    rows: tuple[tuple[Key, slice], ...]
    whole: bool  # all rows of one weight
    origin: Hashable  # what tells it from any other piece, its strength left out
    beside: tuple[tuple[Key, slice], ...] = ()  # rows of the weight that the change of a bias is made of too

    @property
    def keys(self) -> dict[Key, None]:
        """The weights that it sees, each once."""
        return dict.fromkeys(key for key, _ in (*self.rows, *self.beside))


@dataclass(frozen=True, eq=False)
class Weight:
    """One weight to be dressed: where it is written to, and what it is without anything."""

    live: Tensor
    pristine: Tensor  # of the same shape, anywhere, in a dtype that loses nothing
    largest: float  # absolute value in it

    @classmethod
    def of(cls, pristine: Tensor) -> "Weight":
        """Return a weight to be dressed in new memory, which holds anything so far."""
        return cls(torch.empty_like(pristine, memory_format=torch.contiguous_format), pristine, largest(pristine))


MakeReady = Callable[[Piece, Seen, Scratch], Ready]


def make_ready(piece: Piece, seen: Seen, scratch: Scratch) -> Ready:
    """Return the change of a piece made ready, and keep nothing."""
    return piece.change.ready(seen, scratch)


def put_on(
    weights: Mapping[Key, Weight],
    pieces: Sequence[Piece[Key]],
    scratch: Scratch,
    mode: Mode = "sum",
    ready: MakeReady = make_ready,
) -> list[Key]:
    """Write to every weight what it is when it wears the pieces, in their order; return those that are not finite.

    The one sum that swap and merge make: for the same weights and pieces it has the same bits.
    """
    pieces = [_told(weights, piece) for piece in pieces]
    if mode == "sequential" and len(pieces) > 1:
        return _in_sequence(weights, pieces)
    parts: dict[Key, list[Part]] = {key: [] for key in weights}
    for number, piece in enumerate(pieces):
        seen = _seen(weights, piece)
        made, strength = ready(piece, seen, scratch), piece.strength
        if made.step > 1 and not piece.whole:  # rows that belong together lie in several weights
            made, strength = _at_once(made, strength, seen, scratch, f"piece {number}"), 1.0
        start = 0
        for key, rows in piece.rows:
            parts[key].append(Part(made, strength, rows, start))
            start += rows.stop - rows.start
    for key in [key for key, some in parts.items() if not some]:  # seen only beside another
        weights[key].live.copy_(weights[key].pristine)
        del parts[key]
    return [
        key
        for key, some in parts.items()
        if not dress(weights[key].live, weights[key].pristine, weights[key].largest, some, scratch)
    ]


def _told(weights: Mapping[Key, Weight], piece: Piece[Key]) -> Piece[Key]:
    """Return a piece whose change knows the weight that it is made of."""
    if not piece.beside:
        return piece
    live = weights[piece.beside[0][0]].live
    rows = [weights[key].pristine[rows].to(live.device, live.dtype) for key, rows in piece.beside]
    return replace(piece, change=piece.change.beside(torch.cat(rows)), beside=())


def _seen(weights: Mapping[Key, Weight], piece: Piece[Key]) -> Seen:
    live = weights[piece.rows[0][0]].live
    if piece.whole:
        return Seen((weights[piece.rows[0][0]].pristine,), live.device, live.dtype)
    return Seen(tuple(weights[key].pristine[rows] for key, rows in piece.rows), live.device, live.dtype)


@dataclass(frozen=True, eq=False)
class _Made(Ready):
    """A change that was computed whole, at its strength."""

    change: Tensor

    def add(self, change: Tensor, pristine: Tensor, strength: float, start: int, scratch: Scratch) -> None:
        change.add_(self.change[start : start + len(change)])


def _at_once(ready: Ready, strength: float, seen: Seen, scratch: Scratch, name: str) -> Ready:
    change = scratch.empty(name, seen.shape, seen.device).zero_()
    ready.add(change, seen.whole(), strength, 0, scratch)
    return _Made(change)


def _in_sequence(weights: Mapping[Key, Weight], pieces: Sequence[Piece[Key]]) -> list[Key]:
    """Put every piece on what the ones before it have left, in float32."""
    pristine = {key: weight.pristine.to(weight.live.device, weight.live.dtype) for key, weight in weights.items()}
    changes = {
        key: torch.zeros(weight.shape, dtype=torch.float32, device=weight.device) for key, weight in pristine.items()
    }
    for piece in pieces:
        view = torch.cat([pristine[key][rows] + changes[key][rows] for key, rows in piece.rows])
        change = torch.zeros(view.shape, dtype=torch.float32, device=view.device)
        piece.change.add_change(change, view, piece.strength)
        for (key, rows), part in zip(piece.rows, change.split([r.stop - r.start for _, r in piece.rows]), strict=True):
            changes[key][rows] += part
    changed = {key for piece in pieces for key, _ in piece.rows}
    for key, weight in weights.items():
        weight.live.copy_(pristine[key] + changes[key] if key in changed else weight.pristine)
    return [key for key, weight in weights.items() if not finite(weight.live)]


@dataclass(frozen=True, eq=False)
class Outfit(Generic[Key]):
    """Weights that one change or another sees together, and all that they are to wear, in order."""

    keys: tuple[Key, ...]
    pieces: tuple[Piece[Key], ...]


def outfits(pieces: Sequence[Piece[Key]]) -> list[Outfit[Key]]:
    """Return the pieces by the weights that they see; those with a weight in common are in one outfit, in order."""
    found = together([piece.keys for piece in pieces])
    return [Outfit(keys, tuple(pieces[number] for number in numbers)) for keys, numbers in found]


def together(seen: Sequence[Collection[Key]]) -> list[tuple[tuple[Key, ...], list[int]]]:
    """Return who must be worked on together: all keys that are seen, and the numbers of those who see them, in order.

    seen: what each one sees. Whoever has a key in common with another, or with one who has, is in one group with it.
    """
    found: dict[Key, tuple[dict[Key, None], list[int]]] = {}
    for number, keys in enumerate(seen):
        met = list({id(found[key]): found[key] for key in keys if key in found}.values())
        group = met[0] if met else ({}, [])
        for other in met[1:]:
            group[0].update(other[0])
            group[1].extend(other[1])
        group[0].update(dict.fromkeys(keys))
        group[1].append(number)
        found |= dict.fromkeys(group[0] if len(met) > 1 else keys, group)
    unique = {id(group): group for group in found.values()}
    return [(tuple(keys), sorted(numbers)) for keys, numbers in unique.values()]
