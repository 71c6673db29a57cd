"""Hot swap: from one stack of adapters to another on live weights, and back to the pristine ones, bit for bit.

W' = W₀ + Σᵢ [Fᵢ(W₀; sᵢ) − W₀]: every adapter's change is taken against the pristine weight, summed in float32 in order
of sha256, and rounded once. So the order of the list does not matter, and what was worn before does not either.
Taking off is copying back, never subtracting: subtraction leaves a trace in every precision.
In sequence, W ← Fᵢ(W; sᵢ) in the order of the list, is the other way, of ComfyUI and A1111: only when asked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from lycoris.algorithms.change import Change
from lycoris.errors import Code, ModelChanged, Reason, StackRefused
from lycoris.linalg import finite
from lycoris.targets import Index, Plan
from lycoris.worn import Signature, Worn, by_sha256, plans_of, problems

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
Key = tuple[torch.device, torch.dtype, int, torch.Size]  # tied parameters are one stretch of storage and have one key
Mode = Literal["sum", "sequential"]
BARE: tuple[Mode, tuple[Signature, ...]] = ("sum", ())


class _Weight(NamedTuple):
    """One of the model's own weights: where it is found, and the storage that is written to."""

    component: str
    parameter: str
    live: Tensor


class _Kept(NamedTuple):
    """A weight that was touched, and what it was before: one entry, so that no interruption parts the two."""

    weight: _Weight
    pristine: Tensor


class _Piece(NamedTuple):
    """One change and the rows of weights that it sees, one below the other."""

    change: Change
    strength: float
    rows: tuple[tuple[Key, slice], ...]
    whole: bool  # all rows of one weight


@dataclass(eq=False)
class _Outfit:
    """What weights that one change or another sees together are to wear, in order."""

    weights: dict[Key, _Weight]
    pieces: list[_Piece]


class Patcher:
    """Puts stacks of adapters on live modules, in place, and takes them off again.

    components: component -> module. Parameters are written into their own storage, so compiled and captured graphs,
    optimisers and hooks keep working; biases are changed, never made. While anything is worn the modules must not be
    moved or cast (ModelChanged).
    Memory: a pristine copy of every weight touched so far (on the device `keep_on`, else beside the weight), and while
    swapping about three times the largest weight in float32, or the largest group of weights that a file has as one.
    """

    def __init__(self, components: Mapping[str, nn.Module], keep_on: str | torch.device | None = None) -> None:
        self._components = dict(components)
        self._index = Index(components)
        self._keep_on = keep_on
        self._kept: dict[Key, _Kept] = {}  # every weight touched so far
        self._dressed: set[Key] = set()  # those of them that may be something else now
        self._worn: tuple[Worn, ...] = ()
        self._signature: tuple[Mode, tuple[Signature, ...]] | None = BARE  # None: in between, as after an interruption

    @property
    def worn(self) -> tuple[Worn, ...]:
        """The stack that the model wears now, as it was asked for."""
        return self._worn

    @property
    def touched_bytes(self) -> int:
        """Bytes of pristine copies held."""
        return sum(kept.pristine.nbytes for kept in self._kept.values())

    def swap(self, stack: Sequence[Worn], check: Callable[[], None] | None = None, mode: Mode = "sum") -> None:
        """Make the model wear exactly this stack, whatever it wears now; the same stack again costs nothing.

        check: called before every weight; what it raises (a deadline, a cancellation) stops the swap.
        mode: "sum" of the changes to the pristine weights, in any order; or "sequential", each adapter on what the ones
        before it in the list have left, as ComfyUI and A1111 do. For one adapter, and for additive ones, they agree.
        Raises StackRefused (an adapter twice, a strength that is no number or for a part that the adapter does not
        change, a result that is not finite), NoPlace, ModelChanged. After any exception, of whatever kind, the model
        wears nothing. (ValueError for a mode that is none: before anything else, and nothing is changed.)
        """
        if mode not in get_args(Mode):
            raise ValueError(f"a mode of stacking is one of {', '.join(get_args(Mode))}, not {mode!r}")
        signature = _signature(stack, mode)
        if signature == self._signature:
            return
        try:
            self._signature = None
            self._forget_moved()
            with torch.no_grad(), _exact_float32(self._components):
                outfits = self._outfits(stack if mode == "sequential" else by_sha256(stack))
                for outfit in outfits:
                    if check is not None:
                        check()
                    self._dress(outfit, mode)
                for key in self._dressed.difference(*(outfit.weights for outfit in outfits)):
                    self._undress(key)
            self._worn, self._signature = tuple(stack), signature
        except BaseException:  # a KeyboardInterrupt too must not leave a model half dressed
            self.restore()
            raise

    def restore(self) -> None:
        """Take everything off: every weight is again what it was, bit for bit. Interrupted, it can be called again."""
        self._worn, self._signature = (), None
        self._forget_moved()
        with torch.no_grad():
            for key in tuple(self._dressed):
                self._undress(key)
        self._signature = BARE

    def _dress(self, outfit: _Outfit, mode: Mode) -> None:
        pristine = {key: self._keep(key, weight) for key, weight in outfit.weights.items()}
        changes = {
            key: torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
            for key, weight in pristine.items()
        }
        for piece in outfit.pieces:
            _put_on(piece, changes, pristine, mode)
        dressed = {key: (pristine[key] + changes.pop(key)).to(pristine[key].dtype) for key in pristine}  # rounded once
        unfit = [outfit.weights[key] for key, weight in dressed.items() if not finite(weight)]
        if unfit:
            names = (f"{weight.component}.{weight.parameter}" for weight in unfit)
            message = "is not finite any more when it wears this stack"
            raise StackRefused([Reason(Code.NOT_FINITE, name, message) for name in names])
        for key, weight in dressed.items():
            self._dressed.add(key)
            outfit.weights[key].live.copy_(weight)

    def _keep(self, key: Key, weight: _Weight) -> Tensor:
        """Return what a weight was before anything was worn, on its own device; copied at the first touch."""
        if key not in self._kept:
            self._kept[key] = _Kept(weight, weight.live.to(self._keep_on or weight.live.device, copy=True))
        return self._kept[key].pristine.to(weight.live.device)

    def _undress(self, key: Key) -> None:
        kept = self._kept[key]
        kept.weight.live.copy_(kept.pristine)
        self._dressed.discard(key)

    def _outfits(self, stack: Sequence[Worn]) -> list[_Outfit]:
        """Return what every weight is to wear, in order of the stack; raise with every reason why that cannot be."""
        plans = plans_of(stack, self._index)
        reasons = list(problems(stack, plans))
        outfits: dict[Key, _Outfit] = {}
        for worn, plan in zip(stack, plans, strict=True):
            reasons += self._add(worn, plan, outfits)
        if reasons:
            raise StackRefused(reasons)
        return list(dict.fromkeys(outfits.values()))

    def _add(self, worn: Worn, plan: Plan, outfits: dict[Key, _Outfit]) -> Iterator[Reason]:
        names: dict[Key, str] = {}
        for target in plan.targets:
            weights: dict[Key, _Weight] = {}
            rows: list[tuple[Key, slice]] = []
            for parameter, start, stop in target.view.rows:
                live = self._find(target.component, parameter)
                if live is None:
                    name = f"{target.component}.{parameter}"
                    message = "is not where it was when the patcher was made"
                    raise ModelChanged([Reason(Code.MODEL_CHANGED, name, message)])
                key = _key(live)
                first = names.setdefault(key, parameter)
                if first != parameter:
                    message = f"is one weight with {first}, and one adapter changes it under both names"
                    yield Reason(Code.DUPLICATE, parameter, message)
                if live.dtype not in FLOATS:
                    yield Reason(Code.BAD_DTYPE, parameter, f"is of {live.dtype}, which cannot be changed exactly")
                weights[key] = _Weight(target.component, parameter, live)
                rows.append((key, slice(start, stop)))
            strength = worn.strength_on(target)
            if strength != 0:
                _join(outfits, weights, _Piece(target.change, strength, tuple(rows), target.view.whole))

    def _find(self, component: str, parameter: str) -> Tensor | None:
        """Return a parameter of the model as it is now, or None if it is no more what the index knows."""
        try:
            live = self._components[component].get_parameter(parameter).detach()
        except AttributeError:
            return None
        return live if live.shape == self._index.shapes[component][parameter] else None

    def _forget_moved(self) -> None:
        """Drop the copies of weights that were moved while bare; raise ModelChanged if any wore something."""
        moved = [
            key
            for key, (weight, _) in self._kept.items()
            if (live := self._find(weight.component, weight.parameter)) is None or _key(live) != key
        ]
        reasons = [
            Reason(
                Code.MODEL_CHANGED,
                ".".join(self._kept[key].weight[:2]),
                "was moved, cast or replaced while it wore adapters",
            )
            for key in moved
            if key in self._dressed
        ]
        if reasons:
            raise ModelChanged(reasons)
        for key in moved:
            del self._kept[key]


def _put_on(piece: _Piece, changes: Mapping[Key, Tensor], pristine: Mapping[Key, Tensor], mode: Mode) -> None:
    """Add one piece to the changes of the weights that it sees."""
    seen = pristine if mode == "sum" else {key: pristine[key] + changes[key] for key, _ in piece.rows}
    if piece.whole:
        ((key, _),) = piece.rows
        piece.change.add_change(changes[key], seen[key], piece.strength)
        return
    view = torch.cat([seen[key][rows] for key, rows in piece.rows])
    change = torch.zeros(view.shape, dtype=torch.float32, device=view.device)
    piece.change.add_change(change, view, piece.strength)
    for (key, rows), part in zip(piece.rows, change.split([r.stop - r.start for _, r in piece.rows]), strict=True):
        changes[key][rows] += part


def _join(outfits: dict[Key, _Outfit], weights: dict[Key, _Weight], piece: _Piece) -> None:
    """Enter a piece into the outfit of the weights that it sees, which from then on is one for all of them."""
    joined = _Outfit({}, [])
    for outfit in dict.fromkeys(outfits[key] for key in weights if key in outfits):
        joined.weights |= outfit.weights
        joined.pieces += outfit.pieces  # for each of the weights still in order: no two outfits have one in common
    joined.weights |= {key: weight for key, weight in weights.items() if key not in joined.weights}
    joined.pieces.append(piece)
    outfits |= dict.fromkeys(joined.weights, joined)


def _signature(stack: Sequence[Worn], mode: Mode) -> tuple[Mode, tuple[Signature, ...]]:
    signatures = tuple(worn.signature for worn in stack)
    # One adapter is worn the same in either way, and so is none.
    return (mode, signatures) if mode == "sequential" and len(stack) > 1 else ("sum", tuple(sorted(signatures)))


def _key(weight: Tensor) -> Key:
    return (weight.device, weight.dtype, weight.data_ptr(), weight.shape)


@contextmanager
def _exact_float32(components: Mapping[str, nn.Module]) -> Iterator[None]:
    """Keep autocast and TF32 out: both would round the products to ten bits or fewer."""
    devices = {weight.device.type for part in components.values() for weight in part.parameters()}
    before = torch.get_float32_matmul_precision()
    with ExitStack() as stack:
        for device in devices:
            stack.enter_context(torch.autocast(device, enabled=False))
        torch.set_float32_matmul_precision("highest")
        stack.callback(torch.set_float32_matmul_precision, before)
        yield
