"""Unmerged wearing: stacks on live modules as hooks beside the weights, which stay as they are.

For layers whose change has an exact forward form (`forward.py`), and their biases. y = W₀x + Σᵢ sᵢ·ΔWᵢx differs from
the merged (W₀ + Σᵢ sᵢ·ΔWᵢ)x in rounding alone. Putting on costs next to nothing and no weight is written, so quantised
ones can wear too; every call of a layer costs more.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lycoris.algorithms.change import Change
from lycoris.algorithms.lokr import LoKr
from lycoris.errors import Code, Reason, StackRefused
from lycoris.hooked.forward import ADDENDS, SCALES, Addend, Slot, has_form, on_inputs, placed
from lycoris.hooked.hooks import Beside
from lycoris.hooked.layers import Site, sites_of
from lycoris.patcher import Mode
from lycoris.placement.resolve import Index, Target
from lycoris.stack import Signature, StackEntry, by_sha256, not_finite, plans_of, problems, twice

BIAS = ".bias"
Made = dict[tuple[Change, Site], Addend]


class _Piece(NamedTuple):
    """One change, how much of it is worn, and which rows of which layers see which of its rows."""

    target: Target
    change: Change
    strength: float
    slots: Mapping[Site, Sequence[Slot]]

    @property
    def bias(self) -> bool:
        """Whether it changes biases."""
        return self.target.parameter.endswith(BIAS)


class Bypass:
    """Puts stacks of adapters beside the weights of live modules, and takes them off again: `Patcher`'s other half.

    components: component -> module. index: of the same modules, where there is one already. What has no forward
    form is refused by name: `obstacles`.
    """

    def __init__(self, components: Mapping[str, nn.Module], index: Index | None = None) -> None:
        self._sites = sites_of(components)
        self._index = index or Index(components)
        self._made: Made = {}  # of what is worn: another strength needs no other factors
        self._worn: tuple[StackEntry, ...] = ()
        self._signature: tuple[Signature, ...] | None = ()

    @classmethod
    def on_paper(cls, hindrances: Mapping[str, Mapping[str, str]], index: Index) -> "Bypass":
        """Return a bypass of layers that are known by name and shape alone: only `obstacles` can be asked of it.

        hindrances: see `hindrances_of`, which reads them off a live model.
        """
        bypass = cls({}, index)
        bypass._sites = {
            (component, path): Site(
                f"{component}.{path}", SimpleNamespace(), index.shapes[component][f"{path}.weight"], why
            )
            for component, layers in hindrances.items()
            for path, why in layers.items()
        }
        return bypass

    @property
    def active(self) -> tuple[StackEntry, ...]:
        """The stack that the model wears now, as it was asked for."""
        return self._worn

    def swap(self, stack: Sequence[StackEntry], check: Callable[[], None] | None = None, mode: Mode = "sum") -> None:
        """Make the model wear exactly this stack, whatever it wears now; the same at other strengths costs little.

        check: called before every change; what it raises stops the swap. Raises StackRefused (what cannot be worn, or
        not beside the weights) and NoPlace. After any exception the model wears nothing. (ValueError for several
        adapters in sequence, which are no sum: before anything else, and nothing is changed.)
        """
        if mode == "sequential" and len(stack) > 1:
            raise ValueError("several adapters in sequence can only be merged")
        signature = tuple(sorted(entry.signature for entry in stack))
        if signature == self._signature:
            return
        try:
            self._signature = None
            # What is kept must do under any mode
            with torch.inference_mode(False), torch.no_grad():
                layers, self._made = self._layers(stack, check or (lambda: None))
            self._take_off()
            for layer in layers:
                layer.hang()
            self._worn, self._signature = tuple(stack), signature
        except BaseException:  # a KeyboardInterrupt too must not leave a model half dressed
            self.restore()
            raise

    def restore(self) -> None:
        """Take everything off: no hook of this is left. Interrupted, it can be called again."""
        self._worn, self._signature = (), None
        self._take_off()
        self._made, self._signature = {}, ()

    def obstacles(self, stack: Sequence[StackEntry]) -> list[Reason]:
        """Return every layer that a stack cannot wear beside its weight, and why; raise NoPlace as `swap` does."""
        return [reason for reason in self._pieces(stack)[1] if reason.code is Code.NO_FORM]

    def _take_off(self) -> None:
        for site in self._sites.values():
            Beside.take_off(site.module, self)

    def _layers(self, stack: Sequence[StackEntry], check: Callable[[], None]) -> tuple[list[Beside], Made]:
        """Return what each layer is to wear, and all addends of it; raise with every reason why that cannot be."""
        pieces, reasons = self._pieces(stack)
        if reasons:
            raise StackRefused(reasons)
        layers: dict[Site, Beside] = {}
        made: Made = {}
        for piece in pieces:
            check()
            for site, slots in piece.slots.items():
                layer = layers.setdefault(site, Beside(site, self))
                if piece.bias:
                    layer.bias = _plus(layer.bias, _of_bias(piece, site))
                elif type(piece.change) in SCALES:
                    _scale(layer, piece)
                else:
                    key = (piece.change, site)
                    made[key] = self._made.get(key) or ADDENDS[type(piece.change)](site, piece.change, slots)
                    layer.addends.append((made[key], piece.strength))
        unfit = [site for site, layer in layers.items() if not layer.fits()]
        if unfit:
            raise not_finite(site.name for site in unfit)
        return list(layers.values()), made

    def _pieces(self, stack: Sequence[StackEntry]) -> tuple[list[_Piece], list[Reason]]:
        """Return what is worn where, in order of sha256, and every reason why it cannot be."""
        ordered = by_sha256(stack)
        plans = plans_of(ordered, self._index)
        reasons = list(problems(ordered, plans))
        pieces: list[_Piece] = []
        scaled: dict[Site, bool] = {}
        for entry, plan in zip(ordered, plans, strict=True):
            met: dict[tuple[int, str], str] = {}
            for target in plan.targets:
                strength = entry.strength_on(target)
                if strength == 0:
                    continue
                slots, wrong = self._slots(target)
                reasons += self._twice(target, met)
                piece = _Piece(target, target.change, strength, slots)
                wrong = wrong or _obstacle(piece, scaled)
                if wrong:
                    reasons.append(Reason(Code.NO_FORM, f"{target.component}.{target.parameter}", wrong))
                pieces.append(piece)
        return pieces, reasons

    def _twice(self, target: Target, met: dict[tuple[int, str], str]) -> Iterator[Reason]:
        """Yield the layers that an adapter has met under another name already."""
        for row in target.view.rows:
            path, _, kind = row.parameter.rpartition(".")
            site, name = self._sites.get((target.component, path)), f"{target.component}.{row.parameter}"
            if site and (first := met.setdefault((id(site.module), kind), name)) != name:
                yield twice(name, first)

    def _slots(self, target: Target) -> tuple[Mapping[Site, Sequence[Slot]], str]:
        """Return which rows of which layers see which rows of a change, and what hinders that."""
        slots: dict[Site, list[Slot]] = defaultdict(list)
        start = 0
        for parameter, first, stop in target.view.rows:
            site = self._sites.get((target.component, parameter.rpartition(".")[0]))
            if site is None or site.hindrance:
                return {}, site.hindrance if site else "is of no linear or convolutional layer"
            slots[site].append(Slot(first, start, stop - first))
            start += stop - first
        return slots, ""


def _obstacle(piece: _Piece, scaled: dict[Site, bool]) -> str:
    """Say why a piece has no exact forward form, or nothing; scaled: the layers scaled so far, and whether by input."""
    change, view = piece.change, piece.target.view
    if piece.bias:
        return "is a bias made of the weight" if change.of_weight else ""
    if not has_form(change):
        return f"wears a {change.name} that has no exact forward form"
    if isinstance(change, LoKr) and not view.whole:
        return "is a part of what one LoKr changes: cut across its blocks, a Kronecker product is none"
    if isinstance(change, LoKr) and not change.by_kernel(prod(view.shape[2:])):
        return "is a LoKr whose factors divide a kernel between them"
    if type(change) in SCALES:
        by_input = on_inputs(change, view.shape)
        if by_input and any(sum(slot.count for slot in slots) < site.shape[0] for site, slots in piece.slots.items()):
            return "has rows beside those whose inputs are scaled"
        if any(scaled.setdefault(site, by_input) != by_input for site in piece.slots):
            return "is scaled along its inputs by one adapter and along its outputs by another"
    return ""


def _of_bias(piece: _Piece, site: Site) -> Tensor:
    """Return what a change of biases adds to the bias of one of its layers, (o)."""
    seen = [(slot, each) for each, slots in piece.slots.items() for slot in slots]
    seen.sort(key=lambda pair: pair[0].start)
    rows = [each.module.bias.detach()[slot.to : slot.to + slot.count] for slot, each in seen]
    pristine = torch.cat(rows)
    change = torch.zeros(pristine.shape, dtype=torch.float32, device=pristine.device)
    piece.change.add_change(change, pristine, piece.strength)
    return placed(change, site, piece.slots[site])


def _scale(layer: Beside, piece: _Piece) -> None:
    """Add the numbers of an (IA)³ to those that a layer's inputs or outputs are scaled by."""
    numbers = piece.strength * SCALES[type(piece.change)](piece.change)
    if on_inputs(piece.change, piece.target.view.shape):
        layer.inputs = _plus(layer.inputs, numbers.repeat(layer.site.groups))
    else:
        layer.outputs = _plus(layer.outputs, placed(numbers, layer.site, piece.slots[layer.site]))


def _plus(sum_: Tensor | None, more: Tensor) -> Tensor:
    return more if sum_ is None else sum_ + more
