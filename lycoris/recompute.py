"""Recompute: stacks of adapters applied by computing each changed weight anew whenever its module is called.

f(x; W₀ + Σᵢ [Fᵢ(W₀; sᵢ) − W₀]), by `add_change`, of every algorithm and on every kind of module. No weight is written
and nothing is kept between two calls. So quantised weights can be changed too, where W₀ is the numbers that they stand
for. A swap costs next to nothing; each call costs one weight in full, and what its changes cost.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import get_args

import torch
from torch import Tensor, nn

from lycoris.errors import Code, ModelChanged, Reason, StackRefused
from lycoris.hooked.computed import ComputedForward, remove_forward
from lycoris.hooked.hooks import ComponentHook, remove
from lycoris.hooked.owners import Held, held_by
from lycoris.kernels.stored import quantised
from lycoris.merged.integrity import Checksums
from lycoris.merged.merge import Mode, PatchGroup, patch_groups, summed, weight_patch
from lycoris.placement.resolve import Index, Plan
from lycoris.stack import EntryKey, StackEntry, by_sha256, changed_twice, changes_of, masked, plans_of, problems

Signature = tuple[Mode, tuple[EntryKey, ...]]
PLAIN: Signature = ("sum", ())
SMALL = 64 << 20  # bytes of changed weights, in float32, of the smallest modules: checkpointing leaves them in memory


@dataclass(frozen=True, eq=False)
class SummedGroup:
    """The changes of weights that must be computed together."""

    patches: PatchGroup[Held]
    mode: Mode

    @property
    def seen(self) -> Sequence[Held]:
        """Every weight that the changes see."""
        return self.patches.keys

    def changes(self, pristine: Mapping[Held, Tensor]) -> Mapping[Held, Tensor]:
        """Return the change of every weight that is changed, float32."""
        return summed(pristine, self.patches.patches, self.mode)


class Recompute:
    """Applies stacks of adapters to live modules by way of their `forward`, and removes them: `Patcher` without writes.

    components: component -> module. index: of the same modules, if there already is one. A weight that cannot be
    computed anew is refused by name (`obstacles`). A component that runs without calling a module of the active stack
    raises NeverCalled at the end of its forward; a weight that is not finite any more raises StackRefused in its first.
    checkpointing: where gradients are recorded, a call of a large module is computed anew in the backward pass, and its
    changed weight is not kept until then. The smallest modules, up to SMALL bytes in all, are called as ever: there it
    would cost much time and spare little memory.
    """

    def __init__(
        self, components: Mapping[str, nn.Module], index: Index | None = None, checkpointing: bool = False
    ) -> None:
        self._components = components
        self._checkpointing = checkpointing
        self._index = index or Index(components)
        self._held = held_by(components)
        self._modules = list(dict.fromkeys(owner.module for held in self._held.values() for owner in held.owners))
        self._checksums = Checksums()
        for (component, name), held in self._held.items():
            weight = held.owners[0].module.get_parameter(held.owners[0].parameter)
            if held.name == f"{component}.{name}" and quantised(weight):
                self._checksums.watch(component, name, weight)
        self._judges: dict[str, ComponentHook] = {}
        self._active: tuple[StackEntry, ...] = ()
        self._signature: Signature | None = PLAIN

    @property
    def active(self) -> tuple[StackEntry, ...]:
        """The stack that is on the model now, as it was given."""
        return self._active

    def swap(self, stack: Sequence[StackEntry], check: Callable[[], None] | None = None, mode: Mode = "sum") -> None:
        """Apply exactly this stack in place of the active one.

        check: called before every module; an exception in it stops the swap. mode: as `Patcher.swap` has it. Raises
        StackRefused and NoPlace; after any exception the model is plain. (ValueError for an unknown mode: raised first,
        and the active stack stays.)
        """
        if mode not in get_args(Mode):
            raise ValueError(f"a mode of stacking is one of {', '.join(get_args(Mode))}, not {mode!r}")
        mode = mode if len(stack) > 1 else "sum"
        ordered = list(stack) if mode == "sequential" else by_sha256(stack)
        signature: Signature = (mode, tuple(entry.key for entry in ordered))
        if signature == self._signature:
            return
        try:
            self._signature = None
            forwards = self._forwards(ordered, mode)
            self._remove()
            for forward in forwards.values():
                if check is not None:
                    check()
                forward.register()
            self._judge(forwards)
            self._active, self._signature = tuple(stack), signature
        except BaseException:  # KeyboardInterrupt too: no stack may be left half applied
            self.restore()
            raise

    def restore(self) -> None:
        """Give every module its own forward back. If interrupted, it can be called again."""
        self._active, self._signature = (), None
        self._remove()
        self._signature = PLAIN

    def check_called(self) -> None:
        """Raise NeverCalled for a module that was not called since the swap, though others of its component were."""
        for component, judge in self._judges.items():
            judge.check(self._components[component])

    def verify(self, seconds: float = inf) -> list[str]:
        """Return the names of quantised weights of which a bit has changed since this object was made.

        seconds: stop after this time, and continue there at the next call. Nothing here writes them.
        """
        with torch.no_grad():
            return self._checksums.verify((), seconds)

    def obstacles(self, stack: Sequence[StackEntry]) -> list[Reason]:
        """Return every weight of this stack that cannot be computed anew, and why; raise NoPlace as `swap` does."""
        return list(self._obstacles(stack, plans_of(stack, self._index)))

    def _obstacles(self, stack: Sequence[StackEntry], plans: Sequence[Plan]) -> Iterator[Reason]:
        yield from masked(stack)
        for target, *_ in changes_of(stack, plans):
            for component, parameter in target.keys:
                held = self._held.get((component, parameter))
                why = held.obstacle if held else "is stored as something else than one weight"
                if why:
                    yield Reason(Code.NO_FORM, f"{component}.{parameter}", why)

    def _forwards(self, stack: Sequence[StackEntry], mode: Mode) -> dict[nn.Module, ComputedForward]:
        """Return the forward of every module that the stack changes; raise with every reason against it."""
        plans = plans_of(stack, self._index)
        reasons = [*problems(stack, plans), *self._twice(plans), *dict.fromkeys(self._obstacles(stack, plans))]
        if reasons:
            raise StackRefused(reasons)
        patches = [weight_patch(*change[:3], self._held) for change in changes_of(stack, plans)]
        forwards: dict[nn.Module, ComputedForward] = {}
        for group in patch_groups(patches):
            summing = SummedGroup(group, mode)
            changed = dict.fromkeys(held for patch in group.patches for held, _ in patch.rows)
            for held in changed:
                for owner in held.owners:
                    fresh = ComputedForward(owner.name, owner.module, self, {})
                    forward = forwards.setdefault(owner.module, fresh)
                    forward.changed[owner.parameter] = (held, summing)
        self._refuse_replaced(forwards)
        if self._checkpointing:
            _checkpoint_large(forwards.values())
        return forwards

    def _twice(self, plans: Sequence[Plan]) -> Iterator[Reason]:
        """Yield a reason for every weight that an adapter changes under two names."""
        for plan in plans:
            names: dict[Held, str] = {}
            for component, parameter in plan.keys:
                held = self._held.get((component, parameter))
                name = f"{component}.{parameter}"
                if held and (first := names.setdefault(held, name)) != name:
                    yield changed_twice(name, first)

    def _refuse_replaced(self, forwards: Mapping[nn.Module, ComputedForward]) -> None:
        """Raise ModelChanged where something else has replaced a forward since this object was made."""
        found = {module: vars(module).get("forward") for module in forwards}
        others = [
            Reason(Code.MODEL_CHANGED, forwards[module].name, "has a forward that something else has put there")
            for module, forward in found.items()
            if forward is not None and getattr(forward, "owner", None) is not self
        ]
        if others:
            raise ModelChanged(others)

    def _judge(self, forwards: Mapping[nn.Module, ComputedForward]) -> None:
        """Register on every component that has some of these modules the hook that tells whether it calls them."""
        within: dict[str, dict[nn.Module, ComputedForward]] = defaultdict(dict)
        for (component, _), held in self._held.items():
            for owner in held.owners:
                if owner.module in forwards:
                    within[component][owner.module] = forwards[owner.module]
        self._judges = {component: ComponentHook(found.values(), self) for component, found in within.items()}
        for component, judge in self._judges.items():
            judge.register(self._components[component])

    def _remove(self) -> None:
        self._judges = {}
        for part in self._components.values():
            remove(part, self)
        for module in self._modules:
            remove_forward(module, self)


def _checkpoint_large(forwards: Iterable[ComputedForward]) -> None:
    """Mark all modules to be checkpointed but the smallest, whose changed weights stay within SMALL."""
    left = SMALL
    for forward in sorted(forwards, key=lambda one: one.numbers):
        left -= forward.numbers * torch.float32.itemsize
        forward.checkpointing = left < 0
