"""What the base wears while it draws: every generation is fitted once, and then dressed stage by stage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from app.shared.schema import ApplyMode, ResolvedRequest
from lycoris import (
    FLOATS,
    Adapter,
    Bypass,
    Index,
    MappedFolder,
    Mode,
    Patcher,
    Plan,
    PristineChoice,
    Reason,
    StackEntry,
    first_ranks,
    resolve,
)
from workers.drawing import apply_mode
from workers.drawing.strength_schedule import Fitted, Stage, stages
from workers.models.loading import Base


@dataclass(frozen=True)
class Outfit:
    """How a generation is dressed: what is worn from which step on, and in which way."""

    way: ApplyMode
    mode: Mode
    stages: tuple[Stage, ...]


class AdapterApplier:
    """Dresses one base model, generation by generation."""

    def __init__(self, base: Base, pristine: PristineChoice = "auto") -> None:
        components = base.components
        self._index = Index(components)
        self._layers: WeakKeyDictionary[Adapter, tuple[apply_mode.Layer, ...]] = WeakKeyDictionary()
        self._cuts: WeakKeyDictionary[Adapter, tuple[int, Adapter]] = WeakKeyDictionary()
        self._base = apply_mode.Base(
            device=base.profile.device,
            levels=len(getattr(components.get("unet"), "down_blocks", ())),
            quantised=frozenset(
                (name, parameter)
                for name, module in components.items()
                for parameter, weight in module.named_parameters(remove_duplicate=False)
                if weight.dtype not in FLOATS
            ),
        )
        # One index for all: an adapter's layers are looked for once
        self.patcher = Patcher(components, pristine, MappedFolder(base.folder), index=self._index)
        self.bypass = Bypass(components, self._index)

    @property
    def active(self) -> tuple[StackEntry, ...]:
        """The stack that the model wears now, in one way or the other."""
        return self.patcher.active or self.bypass.active

    def fit(self, request: ResolvedRequest, adapters: Sequence[Adapter]) -> Outfit:
        """Return how the generation is dressed.

        Raises NoPlace for an adapter that the base has no place for, StackRefused for one without ranks that is to be
        worn at some, BadRequest for a way that is not possible.
        """
        adapters = [self._cut(adapter, use.rank) for adapter, use in zip(adapters, request.adapters, strict=True)]
        known = [self._know(adapter) for adapter in adapters]
        fitted = map(Fitted, request.adapters, adapters, (plan for plan, _ in known))
        following = stages(request, tuple(fitted))

        def obstacles() -> list[Reason]:
            return list(dict.fromkeys(one for stage in following for one in self.bypass.obstacles(stage.stack)))

        layers = [layer for _, some in known for layer in some]
        way = apply_mode.way(request, layers, len(following), self._base, obstacles)
        return Outfit(way, request.stack_mode, following)

    def dress(self, outfit: Outfit, step: int, check: Callable[[], None] | None = None) -> None:
        """Put on what is worn from this step on; between two stages nothing is done.

        check: called between weights; what it raises stops the change, and the model then wears nothing.
        """
        stage = next((stage for stage in outfit.stages if stage.step == step), None)
        if stage is None:
            return
        on, off = (self.bypass, self.patcher) if outfit.way == "bypass" else (self.patcher, self.bypass)
        off.swap(())  # costs nothing where nothing is worn, and finishes what an interruption left
        on.swap(stage.stack, check, outfit.mode)

    def _cut(self, adapter: Adapter, rank: int | None) -> Adapter:
        """Return an adapter of the first ranks alone; the last one made is kept, for its plan is."""
        if rank is None:
            return adapter
        if self._cuts.get(adapter, (0, adapter))[0] != rank:
            self._cuts[adapter] = rank, first_ranks(adapter, rank)
        return self._cuts[adapter][1]

    def _know(self, adapter: Adapter) -> tuple[Plan, tuple[apply_mode.Layer, ...]]:
        plan = resolve(adapter, self._index)
        if adapter not in self._layers:
            self._layers[adapter] = apply_mode.layers_of(plan)
        return plan, self._layers[adapter]
