"""Hot swap: from one stack of adapters to another on live weights, and back to the pristine ones, bit for bit.

W' = W₀ + Σᵢ [Fᵢ(W₀; sᵢ) − W₀]: every adapter's change is taken against the pristine weight, summed in float32 in order
of sha256, and rounded once. So the order of the list does not matter, and what was worn before does not either.
Taking off is copying back, never subtracting: subtraction leaves a trace in every precision.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lycoris.adapter import Adapter
from lycoris.algorithms.change import Change
from lycoris.errors import Code, ModelChanged, NoPlace, Reason, StackRefused
from lycoris.linalg import finite
from lycoris.targets import Index, Plan, resolve

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
Key = tuple[torch.device, torch.dtype, int, torch.Size]  # tied parameters are one stretch of storage and have one key
Outfit = list[tuple[Change, float]]  # what one weight is to wear, and how strongly, in order of sha256
Signature = tuple[str, tuple[str, ...], float, tuple[tuple[str, float], ...]]


@dataclass(frozen=True, eq=False)
class Worn:
    """An adapter and how much of it is worn: 0 is nothing, 1 as trained; `strengths` says otherwise by component."""

    adapter: Adapter
    strength: float = 1.0
    strengths: Mapping[str, float] = field(default_factory=dict)

    @property
    def signature(self) -> Signature:
        """What makes two ways of wearing an adapter the same."""
        return (self.adapter.sha256, self.adapter.ignored, self.strength, tuple(sorted(self.strengths.items())))


class _Weight(NamedTuple):
    """One of the model's own weights: where it is found, and the storage that is written to."""

    component: str
    parameter: str
    live: Tensor


class Patcher:
    """Puts stacks of adapters on live modules, in place, and takes them off again.

    components: component -> module. Parameters are written into their own storage, so compiled and captured graphs,
    optimisers and hooks keep working; biases are changed, never made. While anything is worn the modules must not be
    moved or cast (ModelChanged).
    Memory: a pristine copy of every weight touched so far (on the device `keep_on`, else beside the weight), and while
    swapping about three times the largest weight in float32.
    """

    def __init__(self, components: Mapping[str, nn.Module], keep_on: str | torch.device | None = None) -> None:
        self._components = dict(components)
        self._index = Index(components)
        self._keep_on = keep_on
        self._weights: dict[Key, _Weight] = {}  # every weight touched so far, and
        self._pristine: dict[Key, Tensor] = {}  # what it was before
        self._dressed: set[Key] = set()  # those of them that may be something else now
        self._worn: tuple[Worn, ...] = ()
        self._signature: tuple[Signature, ...] | None = ()  # None: in between, as after an interrupted restore

    @property
    def worn(self) -> tuple[Worn, ...]:
        """The stack that the model wears now, as it was asked for."""
        return self._worn

    @property
    def touched_bytes(self) -> int:
        """Bytes of pristine copies held."""
        return sum(pristine.nbytes for pristine in self._pristine.values())

    def swap(self, stack: Sequence[Worn], check: Callable[[], None] | None = None) -> None:
        """Make the model wear exactly this stack, whatever it wears now; the same stack again costs nothing.

        check: called before every weight; what it raises (a deadline, a cancellation) stops the swap.
        Raises StackRefused (an adapter twice, a strength that is no number or for a part that the adapter does not
        change, a result that is not finite), NoPlace, ModelChanged. After any exception, of whatever kind, the model
        wears nothing.
        """
        signature = tuple(sorted(worn.signature for worn in stack))
        if signature == self._signature:
            return
        self._signature = None
        try:
            self._forget_moved()
            with torch.no_grad(), _exact_float32(self._components):
                wanted = self._wanted(stack)
                for key, (weight, outfit) in wanted.items():
                    if check is not None:
                        check()
                    self._dress(key, weight, outfit)
                for key in self._dressed - wanted.keys():
                    self._undress(key)
        except BaseException:  # a KeyboardInterrupt too must not leave a model half dressed
            self.restore()
            raise
        self._worn, self._signature = tuple(stack), signature

    def restore(self) -> None:
        """Take everything off: every weight is again what it was, bit for bit. Interrupted, it can be called again."""
        self._worn, self._signature = (), None
        self._forget_moved()
        with torch.no_grad():
            for key in tuple(self._dressed):
                self._undress(key)
        self._signature = ()

    def _dress(self, key: Key, weight: _Weight, outfit: Outfit) -> None:
        if key not in self._pristine:
            self._pristine[key] = weight.live.to(self._keep_on or weight.live.device, copy=True)
            self._weights[key] = weight
        pristine = self._pristine[key].to(weight.live.device)
        change = torch.zeros(pristine.shape, dtype=torch.float32, device=pristine.device)
        for part, strength in outfit:
            part.add_change(change, pristine, strength)
        dressed = (pristine + change).to(pristine.dtype)  # summed in float32, rounded once, here
        if not finite(dressed):
            name = f"{weight.component}.{weight.parameter}"
            raise StackRefused([Reason(Code.NOT_FINITE, name, "is not finite any more when it wears this stack")])
        self._dressed.add(key)
        weight.live.copy_(dressed)

    def _undress(self, key: Key) -> None:
        self._weights[key].live.copy_(self._pristine[key])
        self._dressed.discard(key)

    def _wanted(self, stack: Sequence[Worn]) -> dict[Key, tuple[_Weight, Outfit]]:
        """Return what every weight is to wear; raise with every reason why that cannot be."""
        ordered = sorted(stack, key=lambda worn: worn.adapter.sha256)
        plans: list[Plan] = []
        homeless: list[Reason] = []
        for worn in ordered:
            try:
                plans.append(resolve(worn.adapter, self._index))
            except NoPlace as error:
                homeless += error.reasons
        if homeless:
            raise NoPlace(homeless)
        reasons = list(_repeated(ordered))
        wanted: dict[Key, tuple[_Weight, Outfit]] = {}
        for worn, plan in zip(ordered, plans, strict=True):
            reasons += _bad_strengths(worn, plan)
            reasons += self._add(worn, plan, wanted)
        if reasons:
            raise StackRefused(reasons)
        return wanted

    def _add(self, worn: Worn, plan: Plan, wanted: dict[Key, tuple[_Weight, Outfit]]) -> Iterator[Reason]:
        names: dict[Key, str] = {}
        for component, parameter, change in plan.changes:
            live = self._find(component, parameter)
            if live is None:
                name = f"{component}.{parameter}"
                raise ModelChanged([Reason(Code.MODEL_CHANGED, name, "is not where it was when the patcher was made")])
            key = _key(live)
            first = names.setdefault(key, parameter)
            if first != parameter:
                message = f"is one weight with {first}, and one adapter changes it under both names"
                yield Reason(Code.DUPLICATE, parameter, message)
            if live.dtype not in FLOATS:
                yield Reason(Code.BAD_DTYPE, parameter, f"is of {live.dtype}, which cannot be changed exactly")
            strength = worn.strengths.get(component, worn.strength)
            if strength != 0:
                wanted.setdefault(key, (_Weight(component, parameter, live), []))[1].append((change, strength))

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
            for key, (component, parameter, _) in self._weights.items()
            if (live := self._find(component, parameter)) is None or _key(live) != key
        ]
        reasons = [
            Reason(
                Code.MODEL_CHANGED,
                ".".join(self._weights[key][:2]),
                "was moved, cast or replaced while it wore adapters",
            )
            for key in moved
            if key in self._dressed
        ]
        if reasons:
            raise ModelChanged(reasons)
        for key in moved:
            del self._weights[key], self._pristine[key]


def _key(weight: Tensor) -> Key:
    return (weight.device, weight.dtype, weight.data_ptr(), weight.shape)


def _repeated(stack: Sequence[Worn]) -> Iterator[Reason]:
    hashes = [worn.adapter.sha256 for worn in stack]
    for sha256 in sorted({sha256 for sha256 in hashes if hashes.count(sha256) > 1}):
        yield Reason(Code.REPEATED_ADAPTER, sha256, "is in the stack more than once")


def _bad_strengths(worn: Worn, plan: Plan) -> Iterator[Reason]:
    sha256 = worn.adapter.sha256
    for name, strength in (("", worn.strength), *worn.strengths.items()):
        if not math.isfinite(strength):
            yield Reason(Code.BAD_STRENGTH, sha256, f"a strength must be a finite number, not {strength}")
        if name and name not in plan.components:
            changed = ", ".join(plan.components)
            yield Reason(Code.BAD_STRENGTH, sha256, f"has a strength for {name}, but changes only {changed}")


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
