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
from workers.drawing.apply_mode import choose_apply_mode
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
        self._cuts: WeakKeyDictionary[Adapter, tuple[int, Adapter]] = WeakKeyDictionary()
        self._quantised = frozenset(
            (name, parameter)
            for name, module in components.items()
            for parameter, weight in module.named_parameters(remove_duplicate=False)
            if weight.dtype not in FLOATS
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
        plans = [resolve(adapter, self._index) for adapter in adapters]
        following = stages(request, tuple(map(Fitted, request.adapters, adapters, plans)))

        def obstacles() -> list[Reason]:
            return list(dict.fromkeys(one for stage in following for one in self.bypass.obstacles(stage.stack)))

        mode = choose_apply_mode(request, self._mergeable(plans), obstacles)
        return Outfit(mode, request.stack_mode, following)

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

    def _mergeable(self, plans: Sequence[Plan]) -> bool:
        """Whether no weight that these adapters change is quantised."""
        if not self._quantised:
            return True
        targets = [target for plan in plans for target in plan.targets]
        changed = {(target.component, parameter) for target in targets for parameter in target.view.parameters}
        return self._quantised.isdisjoint(changed)
