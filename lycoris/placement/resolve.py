"""Which layer of an adapter goes to which parameters of a model; the model may be live or only names and shapes."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

from torch import nn

from lycoris.adapter import Adapter, Layer
from lycoris.algorithms.change import Change
from lycoris.architectures.detect import Base, base_of_model
from lycoris.dialects.aliases import names
from lycoris.dialects.row_slice import Part
from lycoris.dialects.wrappers import flattened, unwrapped
from lycoris.errors import Code, NoPlace, Reason
from lycoris.placement.shapes import Shapes, shapes_of
from lycoris.placement.views import Rows, View, view

PARAMETERS = (".weight", ".bias")
WARNINGS = 20  # kinds of warning that a verdict spells out


@dataclass(frozen=True, eq=False)
class Target:
    """One change and the rows of the model's parameters that it is to be added to."""

    component: str
    view: View
    layer: Layer
    change: Change
    weight_view: View | None = None  # the weight from which the change of a bias is computed too

    @property
    def keys(self) -> Iterator[tuple[str, str]]:
        """Every parameter that it changes or reads, as (component, name)."""
        views = (self.view, *([self.weight_view] if self.weight_view else []))
        return ((self.component, rows.parameter) for each in views for rows in each.rows)

    @property
    def parameter(self) -> str:
        """The parameter as the component names it, "mid_block.attentions.0.proj_in.weight"; of several, all names."""
        return self.view.name


@dataclass(frozen=True, eq=False)
class Plan:
    """Where every layer of an adapter goes."""

    targets: tuple[Target, ...]
    warnings: tuple[str, ...]

    @cached_property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """Every parameter that is changed or read, as (component, name), each once."""
        return tuple(dict.fromkeys(key for target in self.targets for key in target.keys))

    @property
    def changes(self) -> Iterator[tuple[str, str, Change]]:
        """Every change as (component, parameter, change)."""
        return ((target.component, target.parameter, target.change) for target in self.targets)

    @property
    def components(self) -> dict[str, int]:
        """How many parameters of each of the model's components are changed."""
        changed = {(target.component, name) for target in self.targets for name in target.view.parameters}
        return dict(sorted(Counter(component for component, _ in changed).items()))


class Index:
    """A model's own modules under every name that a file may call them by; built once, asked for every layer."""

    def __init__(self, components: Mapping[str, nn.Module | Shapes]) -> None:
        self.shapes: dict[str, dict[str, tuple[int, ...]]] = {
            component: shapes_of(part) for component, part in components.items()
        }
        self.modules = {component: _named(component, shapes) for component, shapes in self.shapes.items()}
        self.plans: WeakKeyDictionary[Adapter, Plan] = WeakKeyDictionary()  # `resolve` writes and reads them

    @cached_property
    def base(self) -> Base | None:
        """The architecture of the model, by its own names and shapes."""
        return base_of_model(self.shapes)

    def components_of(self, layer: Layer) -> tuple[str, ...]:
        """Return the components of this model in which the layer is to be looked for."""
        if not layer.components:
            return tuple(self.shapes)
        return next(((component,) for component in layer.components if component in self.shapes), ())

    def modules_of(self, layer: Layer) -> list[tuple[str, tuple[Part, ...]]]:
        """Return everything that the layer's name means: (component, the parts of modules, one below the other).

        A name that means nothing as it stands may have been converted by half, from dots to underscores.
        """
        return self._called(layer, layer.module) or self._called(layer, flattened(layer.module))

    def _called(self, layer: Layer, name: str) -> list[tuple[str, tuple[Part, ...]]]:
        return sorted(
            (component, parts)
            for component in self.components_of(layer)
            for parts in self.modules[component].get(name, ())
        )


def resolve(adapter: Adapter, components: Index | Mapping[str, nn.Module | Shapes]) -> Plan:
    """Return where every layer of the adapter goes in the model.

    components: component -> module, or component -> {parameter name: shape}; or an Index of either.
    Raises NoPlace, with every layer that finds no module, or one of another shape.
    """
    index = components if isinstance(components, Index) else Index(components)
    known = index.plans.get(adapter)
    if known is not None:
        return known
    plan, reasons = match(adapter, index)
    if reasons:
        raise NoPlace(reasons)
    index.plans[adapter] = plan
    return plan


def match(adapter: Adapter, index: Index) -> tuple[Plan, list[Reason]]:
    """Return where the layers of an adapter go, and a reason for every layer that goes nowhere."""
    targets: list[Target] = []
    reasons: list[Reason] = []
    doubts: list[tuple[str, str]] = []
    taken: dict[tuple[str, str], list[tuple[Rows, Layer]]] = defaultdict(list)
    for layer in adapter.layers:
        place = _place(layer, index)
        if isinstance(place, Reason):
            reasons.append(place)
            continue
        component, parts = place
        for parameter, change in layer.changes.items():
            seen = view(parts, parameter, index.shapes[component])
            if seen is None or (change.OPTIONAL and change.misfit(seen.shape)):
                reasons += _absent(layer, change, parameter)
                continue
            weight_view = view(parts, "weight", index.shapes[component]) if change.needs_weight else None
            wrong = _occupied(layer, component, seen, taken) or _misfit(layer, change, parameter, seen, weight_view)
            if wrong:
                reasons.append(wrong)
                continue
            targets.append(Target(component, seen, layer, change, weight_view))
            if adapter.hashes:  # else there are no numbers to doubt
                doubts += [(doubt, layer.name) for doubt in change.doubts(seen.shape)]
    return Plan(tuple(targets), tuple(_gathered(doubts))), reasons


def _place(layer: Layer, index: Index) -> tuple[str, tuple[Part, ...]] | Reason:
    if not index.components_of(layer):
        wanted = " or ".join(layer.components)
        return Reason(Code.NO_COMPONENT, layer.name, f"this model has no {wanted}, only {', '.join(index.shapes)}")
    found = index.modules_of(layer)
    if not found:
        return Reason(Code.NO_MODULE, layer.name, "this model has no such module")
    if len(found) > 1:
        modules = ", ".join(f"{component}.{'+'.join(part.path for part in parts)}" for component, parts in found[:4])
        return Reason(Code.AMBIGUOUS, layer.name, f"the name fits more than one module: {modules}")
    return found[0]


def _absent(layer: Layer, change: Change, parameter: str) -> Iterator[Reason]:
    if not change.OPTIONAL or change.needs_weight:
        # A bias made for the occasion would have to be taken away again: the model would not be the same model.
        code = Code.NO_BIAS if parameter == "bias" else Code.NO_MODULE
        yield Reason(code, layer.name, f"changes a {parameter}, which this module of the model does not have")


def _occupied(
    layer: Layer, component: str, seen: View, taken: dict[tuple[str, str], list[tuple[Rows, Layer]]]
) -> Reason | None:
    """Enter the rows of a view as taken; return the reason if another layer has some of them."""
    first: Layer | None = None
    for rows in seen.rows:
        others = taken[component, rows.parameter]
        first = first or next((other for held, other in others if held.meets(rows) and other is not layer), None)
        others.append((rows, layer))
    if first is None:
        return None
    return Reason(Code.DUPLICATE, layer.name, f"lands on the same module as another layer, {first.name}")


def _misfit(layer: Layer, change: Change, parameter: str, seen: View, weight_view: View | None) -> Reason | None:
    misfit = change.misfit(seen.shape) or (change.misfit_with_weight(weight_view.shape) if weight_view else None)
    return Reason(Code.MISFIT, layer.name, f"its {parameter} {misfit}") if misfit else None


def _gathered(doubts: Iterable[tuple[str, str]]) -> list[str]:
    layers: dict[str, list[str]] = defaultdict(list)
    for doubt, layer in doubts:
        layers[doubt].append(layer)
    return [
        f"{len(names)} layers: {doubt} ({names[0]}, …)" if len(names) > 1 else f"{names[0]}: {doubt}"
        for doubt, names in layers.items()
    ][:WARNINGS]


def _named(component: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, set[tuple[Part, ...]]]:
    """Return every name, dotted and flattened, under which a file may mean something -> what it may mean."""
    modules = dict.fromkeys(module_of(name)[0] for name in shapes)
    named: dict[str, set[tuple[Part, ...]]] = defaultdict(set)
    for name, parts in names(component, modules, shapes):
        named[name].add(parts)
        named[flattened(name)].add(parts)
    # A module's own name is never shadowed by another one's second spelling.
    named.update({path: {(Part(path),)} for path in modules})
    for path in modules:
        named[unwrapped(path)].add((Part(path),))
    return dict(named)


def module_of(parameter: str) -> tuple[str, str]:
    """Return (module, "weight" or "bias") of a parameter; one that hangs on no layer of its own is its own weight."""
    ending = next((ending for ending in PARAMETERS if parameter.endswith(ending)), "")
    return parameter.removesuffix(ending), ending.removeprefix(".") or "weight"
