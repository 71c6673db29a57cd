"""Hot swap: from one stack of adapters to another on live weights, and back to the pristine ones, bit for bit.

W' = W₀ + Σᵢ [Fᵢ(W₀; sᵢ) − W₀]: every adapter's change is taken against the pristine weight, summed in float32 in order
of sha256, and rounded once. So the order of the list does not matter, and what was worn before does not either.
Taking off is copying back, never subtracting: subtraction leaves a trace in every precision.
In sequence, W ← Fᵢ(W; sᵢ) in the order of the list, is the other way, of ComfyUI and A1111: only when asked for.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import inf
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from lycoris.errors import Code, ModelChanged, Reason, StackRefused
from lycoris.kernels.scratch import Scratch
from lycoris.merged.integrity import Watch
from lycoris.merged.merge import Mode, Outfit, Piece, Weight, outfits, put_on
from lycoris.merged.prepared_cache import Prepared
from lycoris.merged.pristine import Choice, FindInFile, Kept, Place, Pristine, bytes_by_place
from lycoris.placement.resolve import Index
from lycoris.placement.views import View
from lycoris.stack import Signature, StackEntry, by_sha256, not_finite, plans_of, problems, twice

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
READY_BYTES = 256 * 1024 * 1024
# Of a weight, by where its numbers are: tied parameters are one stretch of storage, and have one key
Key = tuple[torch.device, torch.dtype, int, torch.Size, tuple[int, ...]]
PatchState = tuple[Hashable, ...]  # what a weight wears, to the last bit
UNPATCHED: tuple[Mode, tuple[Signature, ...]] = ("sum", ())


class Patcher:
    """Puts stacks of adapters on live modules, in place, and takes them off again.

    components: component -> module. Parameters are written into their own storage, so compiled and captured graphs,
    optimisers and hooks keep working; biases are changed, never made. While anything is worn the modules must not be
    moved or cast (ModelChanged).
    pristine, find: where copies of the weights touched are kept, see `Pristine`. ready_bytes: how much may be kept of
    what does not depend on strengths (rotations, norms), so that another strength costs less. index: of the same
    modules, where there is one already.
    Memory beside these: scratch for a few blocks of 4 MiB, or for a whole weight where an algorithm needs that.
    """

    def __init__(
        self,
        components: Mapping[str, nn.Module],
        pristine: Choice = "auto",
        find: FindInFile | None = None,
        ready_bytes: int = READY_BYTES,
        index: Index | None = None,
    ) -> None:
        self._components = dict(components)
        self._index = index or Index(components)
        self._pristine = Pristine(pristine, find)
        self._prepared = Prepared(ready_bytes)
        self._watch = Watch()
        self._room = Scratch()
        self._kept: dict[Key, Kept] = {}  # every weight touched so far
        self._dressed: dict[Key, PatchState | None] = {}  # those that may be something else now; None: anything
        self._worn: tuple[StackEntry, ...] = ()
        # None: in between, as after an interruption
        self._signature: tuple[Mode, tuple[Signature, ...]] | None = UNPATCHED

    @property
    def active(self) -> tuple[StackEntry, ...]:
        """The stack that the model wears now, as it was asked for."""
        return self._worn

    @property
    def touched_bytes(self) -> int:
        """Bytes of the weights touched so far, wherever their pristine copies are."""
        return sum(kept.live.nbytes for kept in self._kept.values())

    @property
    def pristine_bytes(self) -> dict[Place, int]:
        """Bytes of pristine weights by where they are kept; those in files cost no memory."""
        return bytes_by_place(self._kept.values())

    @property
    def ready_bytes(self) -> int:
        """Bytes kept of what does not depend on strengths."""
        return self._prepared.nbytes

    def swap(self, stack: Sequence[StackEntry], check: Callable[[], None] | None = None, mode: Mode = "sum") -> None:
        """Make the model wear exactly this stack, whatever it wears now.

        The same stack again costs nothing, and a weight that wears the same in both stacks is not visited.
        check: called before every weight; what it raises (a deadline, a cancellation) stops the swap.
        mode: "sum" of the changes to the pristine weights, in any order; or "sequential", each adapter on what the ones
        before it in the list have left, as ComfyUI and A1111 do. For one adapter, and for additive ones, they agree.
        Raises StackRefused (an adapter twice, a strength that is no number or for a part that the adapter does not
        change, a result that is not finite), NoPlace, ModelChanged. After any exception, of whatever kind, the model
        wears nothing. (ValueError for a mode that is none: before anything else, and nothing is changed.)
        """
        if mode not in get_args(Mode):
            raise ValueError(f"a mode of stacking is one of {', '.join(get_args(Mode))}, not {mode!r}")
        mode = mode if len(stack) > 1 else "sum"  # one adapter is worn the same in either way, and so is none
        signature = _signature(stack, mode)
        if signature == self._signature:
            return
        try:
            self._signature = None
            live = self._live()
            self._forget_moved(live)
            # What is kept from one swap to the next must do under any mode
            with torch.inference_mode(False), torch.no_grad(), _exact_float32(live.devices):
                wanted, found = self._outfits(stack if mode == "sequential" else by_sha256(stack), live)
                for key in self._dressed.keys() - {key for outfit in wanted for key in outfit.keys}:
                    self._undress(key)
                for outfit in wanted:
                    if check is not None:
                        check()
                    self._dress(outfit, found, mode)
            self._prepared.trim()
            self._worn, self._signature = tuple(stack), signature
        except BaseException:  # a KeyboardInterrupt too must not leave a model half dressed
            self.restore()
            raise

    def restore(self) -> None:
        """Take everything off: every weight is again what it was, bit for bit. Interrupted, it can be called again."""
        self._worn, self._signature = (), None
        live = self._live()
        with torch.inference_mode(False), torch.no_grad():
            for key in self._dressed.keys() - self._moved(live):
                self._undress(key)
        self._forget_moved(live)
        self._signature = UNPATCHED

    def verify(self, seconds: float = inf) -> list[str]:
        """Return the names of weights whose pristine copy is not what it was, or that wear nothing and yet are not it.

        seconds: how long to look, at a block after the other; the next call goes on from there. What is found can not
        be mended here: the model must be loaded again.
        """
        with torch.inference_mode(False), torch.no_grad():
            return self._watch.verify(self._dressed, seconds)

    def _dress(self, outfit: Outfit[Key], found: Mapping[Key, "_Found"], mode: Mode) -> None:
        attire: PatchState = (
            mode if len(outfit.pieces) > 1 else "sum",
            *((p.origin, p.strength) for p in outfit.pieces),
        )
        if all(self._dressed.get(key) == attire for key in outfit.keys):
            return
        for key in outfit.keys:
            if key not in self._kept:
                self._refuse_overlap(found[key])
                kept_now = self._pristine.keep(*found[key])
                self._watch.add(key, kept_now)  # first: what is kept must be looked after, whatever interrupts
                self._kept[key] = kept_now
        kept = {key: self._kept[key] for key in outfit.keys}
        self._dressed |= dict.fromkeys(kept)
        weights = {key: Weight(one.live, one.pristine, one.largest) for key, one in kept.items()}
        unfit = put_on(weights, outfit.pieces, self._room, mode, self._prepared)
        if unfit:
            raise not_finite(kept[key].name for key in unfit)
        self._dressed |= dict.fromkeys(kept, attire)

    def _undress(self, key: Key) -> None:
        self._kept[key].take_off()
        del self._dressed[key]

    def _outfits(self, stack: Sequence[StackEntry], live: "_Live") -> "tuple[list[Outfit[Key]], dict[Key, _Found]]":
        """Return what every weight is to wear, in order of the stack; raise with every reason why that cannot be."""
        plans = plans_of(stack, self._index)
        reasons = list(problems(stack, plans))
        pieces: list[Piece[Key]] = []
        found: dict[Key, _Found] = {}

        def met(component: str, view: View | None, names: dict[Key, tuple[str, str]]) -> Iterator[tuple[Key, slice]]:
            for parameter, start, stop in view.rows if view else ():
                key, one = live.find(component, parameter)
                reasons.extend(_unfit(one, names.setdefault(key, (component, parameter))))
                found.setdefault(key, one)
                yield key, slice(start, stop)

        for entry, plan in zip(stack, plans, strict=True):
            names: dict[Key, tuple[str, str]] = {}
            for number, target in enumerate(plan.targets):
                rows, beside = (tuple(met(target.component, view, names)) for view in (target.view, target.beside))
                strength = entry.strength_on(target)
                if strength != 0:
                    origin = (entry.adapter.sha256, entry.adapter.ignored, number)
                    pieces.append(Piece(target.change, strength, rows, target.view.whole, origin, beside))
        if reasons:
            raise StackRefused(reasons)
        return outfits(pieces), found

    def _forget_moved(self, live: "_Live") -> None:
        """Drop the copies of weights that were moved while bare; raise ModelChanged if any wore something."""
        moved = self._moved(live)
        message = "was moved, cast or replaced while it wore adapters"
        reasons = [Reason(Code.MODEL_CHANGED, self._kept[key].name, message) for key in moved if key in self._dressed]
        if reasons:
            raise ModelChanged(reasons)
        if moved:
            self._prepared.forget()  # before it is forgotten that they were moved
            self._watch.forget(moved)
        for key in moved:
            del self._kept[key]

    def _moved(self, live: "_Live") -> list[Key]:
        return [key for key, kept in self._kept.items() if live.key(kept.component, kept.parameter) != key]

    def _refuse_overlap(self, found: "_Found") -> None:
        """Raise StackRefused where a weight shares numbers with another: each would be kept as the other made it."""
        begin, end = _stretch(found.live)
        storage = found.live.untyped_storage().data_ptr()
        for other in self._kept.values():
            if other.live.untyped_storage().data_ptr() == storage:
                first, last = _stretch(other.live)
                if begin < last and first < end:
                    message = f"shares some of its numbers with {other.name}, and both are changed"
                    raise StackRefused([Reason(Code.DUPLICATE, f"{found.component}.{found.parameter}", message)])

    def _live(self) -> "_Live":
        return _Live(self._components, self._index)


class _Found(NamedTuple):
    """One of the model's own weights."""

    component: str
    parameter: str
    live: Tensor


class _Live:
    """The parameters of a model as they are now, asked for once."""

    def __init__(self, components: Mapping[str, nn.Module], index: Index) -> None:
        self._shapes = index.shapes
        self._parameters = {
            component: dict(module.named_parameters(remove_duplicate=False)) for component, module in components.items()
        }

    @property
    def devices(self) -> set[str]:
        """The types of the devices that they are on."""
        return {weight.device.type for held in self._parameters.values() for weight in held.values()}

    def key(self, component: str, parameter: str) -> Key | None:
        """Return the key of a parameter, or None if it is no more what the index knows."""
        live = self._parameters[component].get(parameter)
        if live is None or (live.dtype in FLOATS and live.shape != self._shapes[component][parameter]):
            return None  # of a weight that is stored in another form the index has the shape that it stands for
        return (live.device, live.dtype, live.data_ptr(), live.shape, live.stride())

    def find(self, component: str, parameter: str) -> tuple[Key, _Found]:
        """Return a parameter by its key; raise ModelChanged if it is no more what the index knows."""
        key = self.key(component, parameter)
        if key is None:
            message = "is not where it was when the patcher was made"
            raise ModelChanged([Reason(Code.MODEL_CHANGED, f"{component}.{parameter}", message)])
        return key, _Found(component, parameter, self._parameters[component][parameter].detach())


def _unfit(one: _Found, first: tuple[str, str]) -> Iterator[Reason]:
    """Yield why a weight cannot be changed. first: the name under which the adapter has met this weight already."""
    if first != (one.component, one.parameter):
        yield twice(one.parameter, ".".join(first))
    if one.live.dtype not in FLOATS:
        yield Reason(Code.BAD_DTYPE, one.parameter, f"is of {one.live.dtype}, which cannot be changed exactly")


def _signature(stack: Sequence[StackEntry], mode: Mode) -> tuple[Mode, tuple[Signature, ...]]:
    signatures = tuple(entry.signature for entry in stack)
    return mode, signatures if mode == "sequential" else tuple(sorted(signatures))


def _stretch(weight: Tensor) -> tuple[int, int]:
    """Return where the memory of a weight begins, and where it ends."""
    numbers = 1 + sum((size - 1) * step for size, step in zip(weight.shape, weight.stride(), strict=True))
    return weight.data_ptr(), weight.data_ptr() + numbers * weight.itemsize


@contextmanager
def _exact_float32(devices: Iterable[str]) -> Iterator[None]:
    """Keep autocast and TF32 out: both would round the products to ten bits or fewer."""
    before = torch.get_float32_matmul_precision()
    with ExitStack() as stack:
        for device in devices:
            stack.enter_context(torch.autocast(device, enabled=False))
        torch.set_float32_matmul_precision("highest")
        stack.callback(torch.set_float32_matmul_precision, before)
        yield
