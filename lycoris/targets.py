"""Which layer of an adapter goes to which parameter of a model; the model may be live or only names and shapes."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from lycoris.adapter import Adapter, Layer, read
from lycoris.algorithms.change import Change
from lycoris.dialects.spellings import spellings
from lycoris.errors import AdapterError, Code, FileRefused, NoPlace, Reason
from lycoris.files import FILE_CAP
from lycoris.verdict import Verdict, facts, triggers

Shapes = Mapping[str, Sequence[int]]  # parameter name -> shape
WEIGHT = ".weight"
WARNINGS = 20  # kinds of warning that a verdict spells out


@dataclass(frozen=True, eq=False)
class Target:
    """One change and the parameter of the model that it is to be added to."""

    component: str
    parameter: str  # as the component names it: "mid_block.attentions.0.proj_in.weight"
    layer: Layer
    change: Change


@dataclass(frozen=True, eq=False)
class Plan:
    """Where every layer of an adapter goes."""

    targets: tuple[Target, ...]
    warnings: tuple[str, ...]

    @property
    def changes(self) -> Iterator[tuple[str, str, Change]]:
        """Every change as (component, parameter, change)."""
        return ((target.component, target.parameter, target.change) for target in self.targets)

    @property
    def components(self) -> dict[str, int]:
        """How many parameters of each of the model's components are changed."""
        return dict(sorted(Counter(target.component for target in self.targets).items()))


class Index:
    """A model's own modules under every name that a file may call them by; built once, asked for every layer."""

    def __init__(self, components: Mapping[str, nn.Module | Shapes]) -> None:
        self.shapes: dict[str, dict[str, tuple[int, ...]]] = {
            component: _shapes(part) for component, part in components.items()
        }
        self._paths: dict[str, dict[str, set[str]]] = {
            component: _paths(component, shapes) for component, shapes in self.shapes.items()
        }

    def components_of(self, layer: Layer) -> tuple[str, ...]:
        """Return the components of this model in which the layer is to be looked for."""
        if not layer.components:
            return tuple(self.shapes)
        return next(((component,) for component in layer.components if component in self.shapes), ())

    def paths_of(self, layer: Layer) -> list[tuple[str, str]]:
        """Return every (component, module path) that the layer's name means."""
        found = ((part, path) for part in self.components_of(layer) for path in self._paths[part].get(layer.module, ()))
        return sorted(found)


def resolve(adapter: Adapter, components: Index | Mapping[str, nn.Module | Shapes]) -> Plan:
    """Return where every layer of the adapter goes in the model.

    components: component -> module, or component -> {parameter name: shape}; or an Index of either.
    Raises NoPlace, with every layer that finds no module, or one of another shape.
    """
    plan, reasons = _plan(adapter, components if isinstance(components, Index) else Index(components))
    if reasons:
        raise NoPlace(reasons)
    return plan


def inspect(
    source: str | os.PathLike[str] | bytes,
    components: Index | Mapping[str, nn.Module | Shapes] | None = None,
    ignore: Sequence[str] = (),
    cap: int = FILE_CAP,
) -> Verdict:
    """Return what a file holds and, if a model is given, where it goes; only names and shapes of the model are needed.

    Raises FileRefused (or NoPlace, if the file is sound and only does not fit) with every reason of either kind.
    """
    adapter, reasons = read(source, ignore, cap)
    refusal: type[AdapterError] = FileRefused if reasons else NoPlace
    plan: Plan | None = None
    if components is not None:
        plan, misplaced = _plan(adapter, components if isinstance(components, Index) else Index(components))
        reasons = [*reasons, *misplaced]
    if reasons:
        raise refusal(reasons)
    return Verdict(
        sha256=adapter.sha256,
        autov2=adapter.hashes.autov2,
        autov3=adapter.hashes.autov3,
        file_bytes=adapter.file_bytes,
        algorithms=adapter.algorithms,
        ranks=adapter.ranks,
        components=_components(adapter, plan),
        layers=len(adapter.layers),
        resolved=len(adapter.layers) if plan else None,
        ignored=adapter.ignored,
        metadata=facts(adapter.metadata),
        triggers=triggers(adapter.metadata),
        warnings=adapter.doubts + (plan.warnings if plan else ()),
    )


def _plan(adapter: Adapter, index: Index) -> tuple[Plan, list[Reason]]:
    targets: list[Target] = []
    reasons: list[Reason] = []
    doubts: list[tuple[str, str]] = []
    taken: dict[tuple[str, str], Layer] = {}
    for layer in adapter.layers:
        place = _place(layer, index)
        if isinstance(place, Reason):
            reasons.append(place)
            continue
        component, path = place
        for parameter, change in layer.changes.items():
            name = f"{path}.{parameter}"
            shape = index.shapes[component].get(name)
            wrong = _wrong(layer, change, parameter, shape, taken.setdefault((component, name), layer))
            if wrong:
                reasons.append(wrong)
            elif shape is not None:
                targets.append(Target(component, name, layer, change))
                doubts += [(doubt, layer.name) for doubt in change.doubts(shape)]
    return Plan(tuple(targets), tuple(_gathered(doubts))), reasons


def _place(layer: Layer, index: Index) -> tuple[str, str] | Reason:
    if not index.components_of(layer):
        wanted = " or ".join(layer.components)
        return Reason(Code.NO_COMPONENT, layer.name, f"this model has no {wanted}, only {', '.join(index.shapes)}")
    paths = index.paths_of(layer)
    if not paths:
        return Reason(Code.NO_MODULE, layer.name, "this model has no such module")
    if len(paths) > 1:
        names = ", ".join(f"{component}.{path}" for component, path in paths[:4])
        return Reason(Code.AMBIGUOUS, layer.name, f"the name fits more than one module: {names}")
    return paths[0]


def _wrong(layer: Layer, change: Change, parameter: str, shape: tuple[int, ...] | None, first: Layer) -> Reason | None:
    if first is not layer:
        return Reason(Code.DUPLICATE, layer.name, f"lands on the same module as another layer, {first.name}")
    if shape is None:
        # A bias made for the occasion would have to be taken away again: the model would not be the same model.
        code = Code.NO_BIAS if parameter == "bias" else Code.NO_MODULE
        return Reason(code, layer.name, f"changes a {parameter}, which this module of the model does not have")
    misfit = change.misfit(shape)
    return Reason(Code.MISFIT, layer.name, f"its {parameter} {misfit}") if misfit else None


def _gathered(doubts: Iterable[tuple[str, str]]) -> list[str]:
    layers: dict[str, list[str]] = defaultdict(list)
    for doubt, layer in doubts:
        layers[doubt].append(layer)
    return [
        f"{len(names)} layers: {doubt} ({names[0]}, …)" if len(names) > 1 else f"{names[0]}: {doubt}"
        for doubt, names in layers.items()
    ][:WARNINGS]


def _components(adapter: Adapter, plan: Plan | None) -> dict[str, int]:
    if plan is None:
        return adapter.components
    layers = {(target.component, target.layer.name) for target in plan.targets}
    return dict(sorted(Counter(component for component, _ in layers).items()))


def _shapes(part: nn.Module | Shapes) -> dict[str, tuple[int, ...]]:
    if isinstance(part, nn.Module):
        # Tied parameters have a name in each place, and a file may use either.
        return {name: tuple(weight.shape) for name, weight in part.named_parameters(remove_duplicate=False)}
    return {name: tuple(int(size) for size in shape) for name, shape in part.items()}


def _paths(component: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, set[str]]:
    named: dict[str, set[str]] = defaultdict(set)
    for name in shapes:
        if name.endswith(WEIGHT):
            path = name.removesuffix(WEIGHT)
            for spelling in spellings(component, path):
                named[spelling].add(path)
    # A module's own name is never shadowed by another one's second spelling.
    return {spelling: {spelling} if spelling in paths else paths for spelling, paths in named.items()}
