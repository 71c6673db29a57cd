"""Bypass: stacks of adapters applied by forward hooks that add to a layer's output; no weight is written.

For layers whose change has an exact forward form (`hooked/forward.py`), and for their biases. y = W₀x + Σᵢ sᵢ·ΔWᵢx
differs from the merged (W₀ + Σᵢ sᵢ·ΔWᵢ)x in rounding alone. A swap costs next to nothing and quantised weights can be
bypassed too; every call of a layer costs more.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from math import prod
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from lycoris.algorithms.change import Change
from lycoris.algorithms.lokr import LoKr
from lycoris.errors import Code, Reason, StackRefused, not_finite
from lycoris.hooked.forward import ADDENDS, SCALES, Addend, RowMap, has_form, scales_inputs, scattered
from lycoris.hooked.hooks import ComponentHook, LayerHooks, remove
from lycoris.hooked.layers import Site, sites_of
from lycoris.hooked.region import Region, positions
from lycoris.patcher import Mode
from lycoris.placement.resolve import Index, Target
from lycoris.stack import (
    AppliedChange,
    EntryKey,
    StackEntry,
    by_sha256,
    changed_twice,
    changes_of,
    plans_of,
    problems,
)

BIAS = ".bias"
Addends = dict[tuple[Change, Site], Addend]
SiteRows = Mapping[Site, Sequence[RowMap]]  # which rows of which layers one change changes


class Bypass:
    """Applies stacks of adapters to live modules with forward hooks, and removes them again: `Patcher` without writes.

    components: component -> module. index: of the same modules, if there already is one. Changes without a
    forward form are refused by name (`obstacles`). A component that runs without calling a layer of the active stack
    raises NeverCalled at the end of its forward.
    """

    def __init__(self, components: Mapping[str, nn.Module], index: Index | None = None) -> None:
        self._components = components
        self._sites = sites_of(components)
        self._judges: dict[str, ComponentHook] = {}
        self._index = index or Index(components)
        self._addends: Addends = {}  # of the active stack, reused when only strengths change
        self._active: tuple[StackEntry, ...] = ()
        self._signature: tuple[EntryKey, ...] | None = ()

    @classmethod
    def of_sites(cls, sites: Mapping[str, Mapping[str, str]], index: Index) -> "Bypass":
        """Return a bypass of layers known by name and shape alone, good for `obstacles` and nothing else.

        sites: as `bypass_sites` reads them from a live model.
        """
        bypass = cls({}, index)
        bypass._sites = {
            (component, path): Site(
                f"{component}.{path}", SimpleNamespace(), index.shapes[component][f"{path}.weight"], obstacle
            )
            for component, layers in sites.items()
            for path, obstacle in layers.items()
        }
        return bypass

    @property
    def active(self) -> tuple[StackEntry, ...]:
        """The stack that is on the model now, as it was given."""
        return self._active

    def swap(self, stack: Sequence[StackEntry], check: Callable[[], None] | None = None, mode: Mode = "sum") -> None:
        """Apply exactly this stack in place of the active one; the same adapters at other strengths cost little.

        check: called before every change; an exception in it stops the swap. Raises StackRefused (for a stack that is
        impossible, or has no bypass) and NoPlace. After any exception the model is plain. (ValueError for several
        adapters in sequence, which are no sum: raised first, and the active stack stays.)
        """
        if mode == "sequential" and len(stack) > 1:
            raise ValueError("several adapters in sequence can only be merged")
        signature = tuple(sorted(entry.key for entry in stack))
        if signature == self._signature:
            return
        try:
            self._signature = None
            # Cached tensors must work inside and outside inference mode
            with torch.inference_mode(False), torch.no_grad():
                layers, self._addends = self._layers(stack, check or (lambda: None))
            self._remove_hooks()
            for layer in layers:
                layer.register()
            self._judges = self._judge(layers)
            self._active, self._signature = tuple(stack), signature
        except BaseException:  # KeyboardInterrupt too: no stack may be left half applied
            self.restore()
            raise

    def restore(self) -> None:
        """Remove every hook of this object. If interrupted, it can be called again."""
        self._active, self._signature = (), None
        self._remove_hooks()
        self._addends, self._signature = {}, ()

    def check_called(self) -> None:
        """Raise NeverCalled for a layer that was not called since the swap, though others of its component were.

        A component that did not run at all passes: its weights decide nothing then.
        """
        for component, judge in self._judges.items():
            judge.check(self._components[component])

    def obstacles(self, stack: Sequence[StackEntry]) -> list[Reason]:
        """Return every layer on which this stack has no bypass, and why; raise NoPlace as `swap` does."""
        return [reason for reason in self._changes(stack)[1] if reason.code is Code.NO_FORM]

    def _remove_hooks(self) -> None:
        self._judges = {}
        for module in (*self._components.values(), *(site.module for site in self._sites.values())):
            remove(module, self)

    def _judge(self, layers: Sequence[LayerHooks]) -> dict[str, ComponentHook]:
        """Register on every component that has some of these layers the hook that tells whether it calls them."""
        by_site = {layer.site: layer for layer in layers}
        within: dict[str, dict[Site, LayerHooks]] = defaultdict(dict)
        for (component, _), site in self._sites.items():
            if site in by_site:
                within[component][site] = by_site[site]
        judges = {component: ComponentHook(found.values(), self) for component, found in within.items()}
        for component, judge in judges.items():
            judge.register(self._components[component])
        return judges

    def _layers(self, stack: Sequence[StackEntry], check: Callable[[], None]) -> tuple[list[LayerHooks], Addends]:
        """Return the hooks of every layer of a stack, and all addends in them; raise with every reason against it."""
        changes, reasons = self._changes(stack)
        if reasons:
            raise StackRefused(reasons)
        layers: dict[Site, LayerHooks] = {}
        addends: Addends = {}
        for applied, sites in changes:
            check()
            change, region = applied.target.change, _region(applied)
            for site, rows in sites.items():
                layer = layers.setdefault(site, LayerHooks(site, self))
                if _is_bias(applied.target) and region:
                    layer.biases.append((_of_bias(applied, sites, site), region))
                elif _is_bias(applied.target):
                    layer.bias = _plus(layer.bias, _of_bias(applied, sites, site))
                elif type(change) in SCALES:
                    _scale(layer, applied, rows)
                else:
                    key = (change, site)
                    addends[key] = self._addends.get(key) or ADDENDS[type(change)](site, change, rows)
                    layer.addends.append((addends[key], applied.strength, region))
        unfit = [site for site, layer in layers.items() if not layer.fits()]
        if unfit:
            raise not_finite(site.name for site in unfit)
        return list(layers.values()), addends

    def _changes(self, stack: Sequence[StackEntry]) -> tuple[list[tuple[AppliedChange, SiteRows]], list[Reason]]:
        """Return the changes of a stack in order of sha256, and every reason why it cannot be applied."""
        ordered = by_sha256(stack)
        plans = plans_of(ordered, self._index)
        reasons = list(problems(ordered, plans))
        changes: list[tuple[AppliedChange, SiteRows]] = []
        scaled: dict[Site, bool] = {}
        met: dict[Hashable, str] = {}
        for applied in changes_of(ordered, plans):
            target = applied.target
            sites, wrong = self._rows(target)
            reasons += self._twice(applied, met)
            wrong = wrong or _obstacle(target, sites, scaled) or _unplaced(applied)
            if wrong:
                reasons.append(Reason(Code.NO_FORM, f"{target.component}.{target.parameter}", wrong))
            changes.append((applied, sites))
        return changes, reasons

    def _twice(self, applied: AppliedChange, met: dict[Hashable, str]) -> Iterator[Reason]:
        """Yield a reason for every layer that the adapter already changes under another name; met: updated."""
        target, _, (sha256, _, _), _ = applied
        for row in target.view.rows:
            path, _, kind = row.parameter.rpartition(".")
            site, name = self._sites.get((target.component, path)), f"{target.component}.{row.parameter}"
            if site and (first := met.setdefault((sha256, id(site.module), kind), name)) != name:
                yield changed_twice(name, first)

    def _rows(self, target: Target) -> tuple[SiteRows, str]:
        """Return which rows of which layers a target has, or why it cannot be bypassed."""
        rows: dict[Site, list[RowMap]] = defaultdict(list)
        start = 0
        for parameter, first, stop in target.view.rows:
            site = self._sites.get((target.component, parameter.rpartition(".")[0]))
            if site is None or site.obstacle:
                return {}, site.obstacle if site else "belongs to no linear or convolutional layer"
            rows[site].append(RowMap(first, start, stop - first))
            start += stop - first
        return rows, ""


def _is_bias(target: Target) -> bool:
    return target.parameter.endswith(BIAS)


def _obstacle(target: Target, sites: SiteRows, scaled: dict[Site, bool]) -> str:
    """Say why a change has no exact forward form, or nothing.

    scaled: updated; layers that are scaled so far, and whether along their inputs.
    """
    change, view = target.change, target.view
    if _is_bias(target):
        return "is a bias whose change is computed from the weight" if change.needs_weight else ""
    if not has_form(change):
        return f"has a {change.name}, which has no exact forward form"
    if isinstance(change, LoKr) and not view.whole:
        return "is a part of what one LoKr changes: rows cut across its blocks are no Kronecker product"
    if isinstance(change, LoKr) and not change.by_kernel(prod(view.shape[2:])):
        return "has a LoKr whose factors divide a kernel between them"
    if type(change) in SCALES:
        by_input = scales_inputs(change, view.shape)
        if by_input and any(sum(each.size for each in rows) < site.shape[0] for site, rows in sites.items()):
            return "has other rows than those whose inputs are scaled"
        if any(scaled.setdefault(site, by_input) != by_input for site in sites):
            return "is scaled along its inputs by one adapter and along its outputs by another"
    return ""


def _unplaced(applied: AppliedChange) -> str:
    """Say why a change cannot be kept to a region of the picture, or nothing."""
    target, region = applied.target, applied.region
    if region is None:
        return ""
    if type(target.change) in SCALES:
        return f"has an {target.change.name}, which scales and adds nothing that a mask could be laid on"
    if region.everywhere or all(positions(target.component, _layer(name)) == "picture" for _, name in target.keys):
        return ""
    return "has no positions in the picture, or words among them, so that a mask leaves nothing out"


def _region(applied: AppliedChange) -> Region | None:
    """Return the region that a change is added in; None where the layer has no positions, and everywhere is asked."""
    target, region = applied.target, applied.region
    if region is None:
        return None
    placed = any(positions(target.component, _layer(name)) != "none" for _, name in target.keys)
    return region if placed else None


def _layer(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _of_bias(applied: AppliedChange, sites: SiteRows, site: Site) -> Tensor:
    """Return the change of one layer's bias, (o)."""
    seen = [(each, layer) for layer, rows in sites.items() for each in rows]
    seen.sort(key=lambda pair: pair[0].start)
    pristine = torch.cat([layer.module.bias.detach()[each.to : each.to + each.size] for each, layer in seen])
    change = torch.zeros(pristine.shape, dtype=torch.float32, device=pristine.device)
    applied.target.change.add_change(change, pristine, applied.strength)
    return scattered(change, site, sites[site])


def _scale(layer: LayerHooks, applied: AppliedChange, rows: Sequence[RowMap]) -> None:
    """Add the values of an (IA)³ to the scale of a layer's inputs or outputs."""
    change = applied.target.change
    scale = applied.strength * SCALES[type(change)](change)
    if scales_inputs(change, applied.target.view.shape):
        layer.inputs = _plus(layer.inputs, scale.repeat(layer.site.groups))
    else:
        layer.outputs = _plus(layer.outputs, scattered(scale, layer.site, rows))


def _plus(total: Tensor | None, more: Tensor) -> Tensor:
    return more if total is None else total + more
