"""The parameters of a model that each layer of an adapter changes; the model may be live or names and shapes alone."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

from torch import nn

from lycoris.adapter import Adapter, Layer
from lycoris.algorithms.change import Change
from lycoris.architectures.detect import Architecture, architecture_of_model
from lycoris.dialects.aliases import aliases
from lycoris.dialects.row_slice import RowSlice
from lycoris.dialects.wrappers import flattened, unwrapped
from lycoris.errors import Code, NoPlace, Reason
from lycoris.placement.shapes import Shapes, shapes_of
from lycoris.placement.views import Rows, View, view

PARAMETERS = (".weight", ".bias")
WARNINGS = 20  # kinds of warning that a verdict spells out


@dataclass(frozen=True, eq=False)
class Target:
    """One change and the rows of the model's parameters that it is added to."""

    component: str
    view: View
    layer: Layer
    change: Change
    weight_view: View | None = None  # the weight, for a change of a bias that depends on it

    @property
    def keys(self) -> Iterator[tuple[str, str]]:
        """Every parameter that it changes or reads, as (component, name)."""
        views = (self.view, *([self.weight_view] if self.weight_view else []))
        return ((self.component, rows.parameter) for each in views for rows in each.rows)

    @property
    def first_parameter(self) -> str:
        """The first of its parameters, by which the target is in a block of the model: no layer spans two blocks."""
        return self.view.rows[0].parameter

    @property
    def parameter(self) -> str:
        """The parameter's name in the component, "mid_block.attentions.0.proj_in.weight"; of several, all names."""
        return self.view.name


@dataclass(frozen=True, eq=False)
class Plan:
    """The targets of every layer of an adapter."""

    targets: tuple[Target, ...]
    warnings: tuple[str, ...]

    @cached_property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """Every parameter that is changed or read, as (component, name), each once."""
        return tuple(dict.fromkeys(key for target in self.targets for key in target.keys))

    @cached_property
    def components(self) -> dict[str, int]:
        """Number of changed parameters by component of the model."""
        changed = {(target.component, name) for target in self.targets for name in target.view.parameters}
        return dict(sorted(Counter(component for component, _ in changed).items()))


class Index:
    """A model's own modules under every name that a file may have for them; built once, used for every layer."""

    def __init__(self, components: Mapping[str, nn.Module | Shapes]) -> None:
        self.shapes: dict[str, dict[str, tuple[int, ...]]] = {
            component: shapes_of(part) for component, part in components.items()
        }
        self.modules = {component: _names_in_files(component, shapes) for component, shapes in self.shapes.items()}
        self.plans: WeakKeyDictionary[Adapter, Plan] = WeakKeyDictionary()  # written and read by `match`

    @cached_property
    def architecture(self) -> Architecture | None:
        """The architecture of the model, by its own names and shapes."""
        return architecture_of_model(self.shapes)

    def components_of(self, layer: Layer) -> tuple[str, ...]:
        """Return the components of this model that the layer may be in."""
        if not layer.components:
            return tuple(self.shapes)
        return next(((component,) for component in layer.components if component in self.shapes), ())

    def modules_of(self, layer: Layer) -> list[tuple[str, tuple[RowSlice, ...]]]:
        """Return everything that the layer's name may mean: (component, slices of modules, concatenated along dim 0).

        A name that means nothing as it is may have been converted in part from dots to underscores.
        """
        return self._named(layer, layer.module) or self._named(layer, flattened(layer.module))

    def _named(self, layer: Layer, name: str) -> list[tuple[str, tuple[RowSlice, ...]]]:
        return sorted(
            (component, slices)
            for component in self.components_of(layer)
            for slices in self.modules[component].get(name, ())
        )


def resolve(adapter: Adapter, components: Index | Mapping[str, nn.Module | Shapes]) -> Plan:
    """Return where every layer of the adapter goes in the model.

    components: component -> module, or component -> {parameter name: shape}; or an Index of either.
    Raises NoPlace, with every layer that has no module in the model, or one of a different shape.
    """
    index = components if isinstance(components, Index) else Index(components)
    plan, reasons = match(adapter, index)
    if reasons:
        raise NoPlace(reasons)
    return plan


def match(adapter: Adapter, index: Index) -> tuple[Plan, list[Reason]]:
    """Return where the layers of an adapter go, and a reason for every layer that goes nowhere."""
    known = index.plans.get(adapter)
    if known is not None:
        return known, []
    targets: list[Target] = []
    reasons: list[Reason] = []
    doubts: list[tuple[str, str]] = []
    taken: dict[tuple[str, str], list[tuple[Rows, Layer]]] = defaultdict(list)
    for layer in adapter.layers:
        found = _locate(layer, index)
        if isinstance(found, Reason):
            reasons.append(found)
            continue
        component, slices = found
        for parameter, change in layer.changes.items():
            weight = view(slices, parameter, index.shapes[component])
            if weight is None or (change.OPTIONAL and change.misfit(weight.shape)):
                reasons += _missing_parameter(layer, change, parameter)
                continue
            weight_view = view(slices, "weight", index.shapes[component]) if change.needs_weight else None
            wrong = _overlap(layer, component, weight, taken) or _misfit(layer, change, parameter, weight, weight_view)
            if wrong:
                reasons.append(wrong)
                continue
            targets.append(Target(component, weight, layer, change, weight_view))
            if adapter.hashes:  # else there are no values to doubt
                doubts += [(doubt, layer.name) for doubt in change.doubts(weight.shape)]
    plan = Plan(tuple(targets), tuple(_grouped_doubts(doubts)))
    if not reasons:
        index.plans[adapter] = plan
    return plan, reasons


def _locate(layer: Layer, index: Index) -> tuple[str, tuple[RowSlice, ...]] | Reason:
    if not index.components_of(layer):
        wanted = " or ".join(layer.components)
        return Reason(Code.NO_COMPONENT, layer.name, f"this model has no {wanted}, only {', '.join(index.shapes)}")
    found = index.modules_of(layer)
    if not found:
        return Reason(Code.NO_MODULE, layer.name, "this model has no such module")
    if len(found) > 1:
        modules = ", ".join(f"{component}.{'+'.join(each.path for each in slices)}" for component, slices in found[:4])
        return Reason(Code.AMBIGUOUS, layer.name, f"the name fits more than one module: {modules}")
    return found[0]


def _missing_parameter(layer: Layer, change: Change, parameter: str) -> Iterator[Reason]:
    if not change.OPTIONAL or change.needs_weight:
        # A bias that is made now would have to be removed again: the model would not be the same model.
        code = Code.NO_BIAS if parameter == "bias" else Code.NO_MODULE
        yield Reason(code, layer.name, f"changes a {parameter}, which this module of the model does not have")


def _overlap(
    layer: Layer, component: str, weight: View, taken: dict[tuple[str, str], list[tuple[Rows, Layer]]]
) -> Reason | None:
    """Record the rows of a view as taken; return the reason if another layer changes some of them."""
    first: Layer | None = None
    for rows in weight.rows:
        others = taken[component, rows.parameter]
        first = first or next(
            (other for other_rows, other in others if other_rows.meets(rows) and other is not layer), None
        )
        others.append((rows, layer))
    if first is None:
        return None
    return Reason(Code.DUPLICATE, layer.name, f"changes the same module as another layer, {first.name}")


def _misfit(layer: Layer, change: Change, parameter: str, weight: View, weight_view: View | None) -> Reason | None:
    misfit = change.misfit(weight.shape) or (change.misfit_with_weight(weight_view.shape) if weight_view else None)
    return Reason(Code.MISFIT, layer.name, f"its {parameter} {misfit}") if misfit else None


def _grouped_doubts(doubts: Iterable[tuple[str, str]]) -> list[str]:
    layers: dict[str, list[str]] = defaultdict(list)
    for doubt, layer in doubts:
        layers[doubt].append(layer)
    return [
        f"{len(names)} layers: {doubt} ({names[0]}, …)" if len(names) > 1 else f"{names[0]}: {doubt}"
        for doubt, names in layers.items()
    ][:WARNINGS]


def _names_in_files(component: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, set[tuple[RowSlice, ...]]]:
    """Return every name, dotted and flattened, that a file may have for modules -> the slices that it may mean."""
    modules = dict.fromkeys(split_parameter(name)[0] for name in shapes)
    named: dict[str, set[tuple[RowSlice, ...]]] = defaultdict(set)
    for name, slices in aliases(component, modules, shapes):
        named[name].add(slices)
        named[flattened(name)].add(slices)
    # A module's own path takes precedence over another module's alias.
    named.update({path: {(RowSlice(path),)} for path in modules})
    for path in modules:
        named[unwrapped(path)].add((RowSlice(path),))
    return dict(named)


def split_parameter(parameter: str) -> tuple[str, str]:
    """Return (module, "weight" or "bias") of a parameter; a bare nn.Parameter counts as its module's weight."""
    ending = next((ending for ending in PARAMETERS if parameter.endswith(ending)), "")
    return parameter.removesuffix(ending), ending.removeprefix(".") or "weight"
