"""Hot swap: from one stack of adapters to another on live weights, and back to the pristine ones, bit for bit.

W' = W₀ + Σᵢ [Fᵢ(W₀; sᵢ) − W₀]: every adapter's change is computed against the pristine weight, summed in float32 in
order of sha256, and rounded once. So neither the order of the list nor any earlier stack makes a difference.
Undo is copying back, never subtracting: subtraction leaves a residue in every dtype.
The sequential mode, W ← Fᵢ(W; sᵢ) in the order of the list, is that of ComfyUI and A1111: only on request.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from lycoris.errors import Code, ModelChanged, Reason, StackRefused, not_finite
from lycoris.kernels.precision import exact_float32
from lycoris.kernels.scratch import Scratch
from lycoris.kernels.stored import quantised
from lycoris.merged.integrity import Checksums, bits_of
from lycoris.merged.merge import Mode, PatchGroup, Weight, patch_groups, patch_weights, weight_patch
from lycoris.merged.prepared_cache import PreparedCache
from lycoris.merged.pristine import (
    Backup,
    FindInFile,
    Pristine,
    PristineChoice,
    PristineLocation,
    bytes_by_location,
)
from lycoris.placement.resolve import Index
from lycoris.stack import EntryKey, StackEntry, by_sha256, changed_twice, changes_of, masked, plans_of, problems

READY_BYTES = 256 * 1024 * 1024
# Identifies a weight by its memory: tied parameters share memory, and so have one key
Key = tuple[torch.device, torch.dtype, int, torch.Size, tuple[int, ...]]
PatchState = tuple[Hashable, ...]  # the patches of one weight; equal states mean equal bits
UNPATCHED: tuple[Mode, tuple[EntryKey, ...]] = ("sum", ())


class Patcher:
    """Merges stacks of adapters into live modules, in place, and restores the pristine weights.

    components: component -> module. Parameters are written into their own storage, so compiled and captured graphs,
    optimisers and hooks keep working; biases are changed, never created. While a stack is active the modules must not
    be moved or cast (ModelChanged); whoever moves them does so in `moving`.
    pristine, find: location of the backups of patched weights, see `Pristine`. ready_bytes: budget of the cache of
    prepared changes, whose parts (rotations, norms) do not depend on strengths. index: of the same modules, if there
    already is one.
    Further memory: scratch for a few blocks of 4 MiB, or for a whole weight where an algorithm needs that.
    """

    def __init__(
        self,
        components: Mapping[str, nn.Module],
        pristine: PristineChoice = "auto",
        find: FindInFile | None = None,
        ready_bytes: int = READY_BYTES,
        index: Index | None = None,
    ) -> None:
        self._components = dict(components)
        self._index = index or Index(components)
        self._pristine = Pristine(pristine, find)
        self._prepared = PreparedCache(ready_bytes)
        self._checksums = Checksums()
        self._scratch = Scratch()
        self._backups: dict[Key, Backup] = {}  # of every weight patched so far
        self._patched: dict[Key, PatchState | None] = {}  # weights that may differ from their backup; None: in any way
        self._active: tuple[StackEntry, ...] = ()
        # None: unknown, as after an interruption
        self._signature: tuple[Mode, tuple[EntryKey, ...]] | None = UNPATCHED

    @property
    def active(self) -> tuple[StackEntry, ...]:
        """The stack that is on the model now, as it was given."""
        return self._active

    @property
    def touched_bytes(self) -> int:
        """Bytes of the weights patched so far, wherever their backups are."""
        return sum(backup.live.nbytes for backup in self._backups.values())

    @property
    def pristine_bytes(self) -> dict[PristineLocation, int]:
        """Bytes of the backups by location; those in files cost no memory."""
        return bytes_by_location(self._backups.values())

    @property
    def ready_bytes(self) -> int:
        """Bytes in the cache of prepared changes."""
        return self._prepared.nbytes

    def swap(self, stack: Sequence[StackEntry], check: Callable[[], None] | None = None, mode: Mode = "sum") -> None:
        """Apply exactly this stack in place of the active one.

        The same stack again costs nothing, and a weight whose patches are the same in both stacks is not visited.
        check: called before every weight; an exception in it (a deadline, a cancellation) stops the swap.
        mode: "sum" of the changes to the pristine weights, in any order; or "sequential", each adapter on the result of
        the ones before it in the list, as ComfyUI and A1111 do. For one adapter, and for additive ones, they agree.
        Raises StackRefused (an adapter twice, a strength that is not finite or is for a component that the adapter does
        not change, a result that is not finite), NoPlace, ModelChanged. After any exception, of whatever kind, the
        model is pristine. (ValueError for an unknown mode: raised first, and the active stack stays.)
        """
        if mode not in get_args(Mode):
            raise ValueError(f"a mode of stacking is one of {', '.join(get_args(Mode))}, not {mode!r}")
        mode = mode if len(stack) > 1 else "sum"  # of one adapter or none both modes are the same
        signature = _signature(stack, mode)
        if signature == self._signature:
            return
        try:
            self._signature = None
            live = self._live()
            self._forget_moved(live)
            # Tensors kept from one swap to the next must work inside and outside inference mode
            with torch.inference_mode(False), torch.no_grad(), exact_float32(live.devices):
                groups, found = self._groups(stack if mode == "sequential" else by_sha256(stack), live)
                for key in self._patched.keys() - {key for group in groups for key in group.keys}:
                    self._unpatch(key)
                for group in groups:
                    if check is not None:
                        check()
                    self._patch(group, found, mode)
            self._prepared.trim()
            self._active, self._signature = tuple(stack), signature
        except BaseException:  # KeyboardInterrupt too: no model may be left half patched
            self.restore()
            raise

    def restore(self) -> None:
        """Give every weight its pristine value back, bit for bit. If interrupted, it can be called again."""
        self._active, self._signature = (), None
        live = self._live()
        with torch.inference_mode(False), torch.no_grad():
            for key in self._patched.keys() - self._moved(live):
                self._unpatch(key)
        self._forget_moved(live)
        self._signature = UNPATCHED

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Restore the model, let its modules be moved to another device, and check that no bit of them has changed.

        Nothing here keeps memory on the device that they leave: backups and prepared changes are made again when they
        are needed. Raises ModelChanged, with every name, when a parameter or buffer has other bits afterwards, also
        after a move that failed half way.
        """
        self.restore()
        self._prepared.forget()  # first, as in `_forget_moved`
        self._checksums.forget(self._backups)
        self._backups.clear()
        before = bits_of(self._components)
        try:
            yield
        finally:
            after = bits_of(self._components)
            if names := [name for name in before | after if before.get(name) != after.get(name)]:
                message = "has other bits since the model was moved; load the model again"
                raise ModelChanged([Reason(Code.MODEL_CHANGED, name, message) for name in names])

    def verify(self, seconds: float = inf) -> list[str]:
        """Return the names of weights that fail their checksum: the backup changed, or an unpatched weight differs.

        seconds: stop after this time, and continue there at the next call. A weight that fails cannot be repaired here:
        load the model again.
        """
        with torch.inference_mode(False), torch.no_grad():
            return self._checksums.verify(self._patched, seconds)

    def _patch(self, group: PatchGroup[Key], found: Mapping[Key, "_Found"], mode: Mode) -> None:
        state: PatchState = (
            mode if len(group.patches) > 1 else "sum",
            *((patch.origin, patch.strength) for patch in group.patches),
        )
        if all(self._patched.get(key) == state for key in group.keys):
            return
        for key in group.keys:
            if key not in self._backups:
                self._refuse_overlap(found[key])
                backup = self._pristine.back_up(*found[key])
                self._checksums.add(key, backup)  # first: no interruption may leave a backup without checksums
                self._backups[key] = backup
        backups = {key: self._backups[key] for key in group.keys}
        self._patched |= dict.fromkeys(backups)
        weights = {key: Weight(one.live, one.pristine, one.largest) for key, one in backups.items()}
        unfit = patch_weights(weights, group.patches, self._scratch, mode, self._prepared)
        if unfit:
            raise not_finite(backups[key].name for key in unfit)
        self._patched |= dict.fromkeys(backups, state)

    def _unpatch(self, key: Key) -> None:
        self._backups[key].restore()
        del self._patched[key]

    def _groups(self, stack: Sequence[StackEntry], live: "_Live") -> "tuple[list[PatchGroup[Key]], dict[Key, _Found]]":
        """Return the patches of all weights, in order of the stack; raise with every reason against it."""
        plans = plans_of(stack, self._index)
        reasons = [*problems(stack, plans), *masked(stack)]
        keys: dict[tuple[str, str], Key] = {}
        found: dict[Key, _Found] = {}
        for plan in plans:
            names: dict[Key, tuple[str, str]] = {}
            for name in plan.keys:
                key, one = live.find(*name)
                reasons.extend(_unfit(one, names.setdefault(key, name)))
                keys[name] = key
                found.setdefault(key, one)
        if reasons:
            raise StackRefused(reasons)
        return patch_groups([weight_patch(*change[:3], keys) for change in changes_of(stack, plans)]), found

    def _forget_moved(self, live: "_Live") -> None:
        """Drop the backups of weights that were moved while unpatched; raise ModelChanged if any was patched."""
        moved = self._moved(live)
        message = "was moved, cast or replaced while adapters were applied to it"
        reasons = [
            Reason(Code.MODEL_CHANGED, self._backups[key].name, message) for key in moved if key in self._patched
        ]
        if reasons:
            raise ModelChanged(reasons)
        if moved:
            self._prepared.forget()  # first: an interruption must not leave prepared changes of the moved weights
            self._checksums.forget(moved)
        for key in moved:
            del self._backups[key]

    def _moved(self, live: "_Live") -> list[Key]:
        return [key for key, one in self._backups.items() if live.key(one.component, one.parameter) != key]

    def _refuse_overlap(self, found: "_Found") -> None:
        """Raise StackRefused if a weight overlaps another in memory: a backup would hold the other's patched values."""
        begin, end = _extent(found.live)
        storage = found.live.untyped_storage().data_ptr()
        for other in self._backups.values():
            if other.live.untyped_storage().data_ptr() == storage:
                first, last = _extent(other.live)
                if begin < last and first < end:
                    message = f"shares some of its elements with {other.name}, and both are changed"
                    raise StackRefused([Reason(Code.DUPLICATE, f"{found.component}.{found.parameter}", message)])

    def _live(self) -> "_Live":
        return _Live(self._components, self._index)


class _Found(NamedTuple):
    """A live parameter of the model."""

    component: str
    parameter: str
    live: Tensor


class _Live:
    """The present parameters of a model, listed once per swap."""

    def __init__(self, components: Mapping[str, nn.Module], index: Index) -> None:
        self._shapes = index.shapes
        self._parameters = {
            component: dict(module.named_parameters(remove_duplicate=False)) for component, module in components.items()
        }

    @property
    def devices(self) -> set[str]:
        """The types of the devices that hold them."""
        return {weight.device.type for held in self._parameters.values() for weight in held.values()}

    def key(self, component: str, parameter: str) -> Key | None:
        """Return the key of a parameter, or None if it is missing or differs in shape from the index."""
        live = self._parameters[component].get(parameter)
        if live is None or (not quantised(live) and live.shape != self._shapes[component][parameter]):
            return None  # of a quantised weight the index has the logical shape
        return (live.device, live.dtype, live.data_ptr(), live.shape, live.stride())

    def find(self, component: str, parameter: str) -> tuple[Key, _Found]:
        """Return a parameter with its key; raise ModelChanged if it is missing or differs in shape from the index."""
        key = self.key(component, parameter)
        if key is None:
            message = "is not where it was when the patcher was made"
            raise ModelChanged([Reason(Code.MODEL_CHANGED, f"{component}.{parameter}", message)])
        return key, _Found(component, parameter, self._parameters[component][parameter].detach())


def _unfit(one: _Found, first: tuple[str, str]) -> Iterator[Reason]:
    """Yield why a weight cannot be changed. first: the name under which the adapter changes this weight already."""
    if quantised(one.live):  # first: such weights may all have one address
        stored = f"is quantised ({type(one.live).__name__} of {one.live.dtype}), and cannot be changed exactly"
        yield Reason(Code.BAD_DTYPE, one.parameter, stored)
    elif first != (one.component, one.parameter):
        yield changed_twice(one.parameter, ".".join(first))


def _signature(stack: Sequence[StackEntry], mode: Mode) -> tuple[Mode, tuple[EntryKey, ...]]:
    signatures = tuple(entry.key for entry in stack)
    return mode, signatures if mode == "sequential" else tuple(sorted(signatures))


def _extent(weight: Tensor) -> tuple[int, int]:
    """Return the address of the first byte of a weight, and of the byte after the last."""
    elements = 1 + sum((size - 1) * stride for size, stride in zip(weight.shape, weight.stride(), strict=True))
    return weight.data_ptr(), weight.data_ptr() + elements * weight.itemsize
