"""The stack on a base while it draws: planned once for each generation, and then applied stage by stage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

from app.shared.sequence import in_sequence
from app.shared.wire.generation import ApplyMode, ResolvedRequest
from lycoris import (
    Adapter,
    Bypass,
    FurtherInputs,
    Index,
    MappedFolder,
    Mode,
    NeverCalled,
    Patcher,
    Plan,
    PristineChoice,
    Reason,
    Recompute,
    Region,
    StackEntry,
    first_ranks,
    quantised,
    resolve,
)
from workers.control.loras import Divided
from workers.drawing.apply_mode import Choice, after_never_called, choose_apply_mode
from workers.drawing.strength_schedule import PlacedAdapter, Stage, stages
from workers.models.loading import LoadedModel


@dataclass(frozen=True)
class AppliedStack:
    """The stacks of a generation by the step from which each is on, and how they are applied."""

    choice: Choice
    stack_mode: Mode
    stages: tuple[Stage, ...]
    further: ApplyMode | None = None  # the way to take where this one does not reach all layers
    regions: Mapping[str, Region] = field(default_factory=dict)  # where those with a mask are, by sha256

    def anew(self, error: NeverCalled) -> "AppliedStack":
        """Return the same stacks applied otherwise, where a layer was not reached; raise BadRequest if they cannot."""
        return replace(self, choice=after_never_called(self.choice.mode, error.reasons, self.further), further=None)


class AdapterApplier:
    """Applies adapters to one base model, generation by generation."""

    def __init__(self, base: LoadedModel, pristine: PristineChoice = "auto") -> None:
        components = base.components
        self._index = Index(components)
        self._cuts: WeakKeyDictionary[Adapter, tuple[int, Adapter]] = WeakKeyDictionary()
        self._loras = Divided(base.denoiser(), self._index)
        self._quantised = frozenset(
            (name, parameter)
            for name, module in components.items()
            for parameter, weight in module.named_parameters(remove_duplicate=False)
            if quantised(weight)
        )
        # One index for all: an adapter is resolved once
        self.patcher = Patcher(components, pristine, MappedFolder(base.folder), index=self._index)
        self.bypass = Bypass(components, self._index)
        self.recompute = Recompute(components, self._index)
        self._ways: Mapping[ApplyMode, Patcher | Bypass | Recompute] = {
            "merge": self.patcher,
            "bypass": self.bypass,
            "recompute": self.recompute,
        }

    @property
    def active(self) -> tuple[StackEntry, ...]:
        """The stack that is on the model now, in whatever way."""
        return next((way.active for way in self._ways.values() if way.active), ())

    def plan(
        self, request: ResolvedRequest, adapters: Sequence[Adapter], regions: Mapping[str, Region] | None = None
    ) -> AppliedStack:
        """Return what to apply at which step, and how; regions: of adapters with a mask, by sha256.

        Raises NoPlace for an adapter that the base has no place for, StackRefused for one without ranks of which some
        are asked for, BadRequest for an impossible bypass or recompute.
        """
        pairs = [
            (use, self._loras.weights(self._cut(adapter, use.rank)))
            for use, adapter in zip(request.adapters, adapters, strict=True)
            if not adapter.image_prompt  # which changes no weight
        ]
        plans = [resolve(adapter, self._index) for _, adapter in pairs]
        regions = regions or {}
        placed = tuple(
            PlacedAdapter(use, adapter, plan, regions.get(use.sha256))
            for (use, adapter), plan in zip(pairs, plans, strict=True)
        )
        following = stages(request, placed)
        masked = any(one.region for one in placed)

        def obstacles(way: Bypass | Recompute) -> Callable[[], list[Reason]]:
            return lambda: list(dict.fromkeys(one for stage in following for one in way.obstacles(stage.stack)))

        mergeable = self._mergeable(plans)
        hindered: Mapping[ApplyMode, Callable[[], list[Reason]]] = {
            "bypass": obstacles(self.bypass),
            "recompute": obstacles(self.recompute),
        }
        choice = choose_apply_mode(request, mergeable, hindered, masked)
        further: ApplyMode | None = "merge" if mergeable and not masked else None
        if choice.mode == "bypass" and not mergeable and not masked and not hindered["recompute"]():
            further = "recompute"  # which reaches a layer whose forward is called past its hooks
        sequence = in_sequence(request.stack_mode, (use.kind for use in request.adapters))
        return AppliedStack(choice, "sequential" if sequence else "sum", following, further, regions)

    def reading(self, request: ResolvedRequest, adapters: Sequence[Adapter]) -> dict[str, FurtherInputs]:
        """Return what of the adapters of a request reads a picture, by sha256; raises StackRefused as `plan` does."""
        pairs = zip(request.adapters, adapters, strict=True)
        found = ((use.sha256, self._loras.picture(self._cut(adapter, use.rank))) for use, adapter in pairs)
        return {sha256: inputs for sha256, inputs in found if inputs}

    def apply(self, applied: AppliedStack, step: int, check: Callable[[], None] | None = None) -> None:
        """Apply the stack of the stage that begins at this step; nothing is done between two stages.

        check: called between weights; what it raises stops the swap, and no adapter is active then.
        """
        stage = next((stage for stage in applied.stages if stage.step == step), None)
        if stage is None:
            return
        if step:
            self.check_called()
        on = self._ways[applied.choice.mode]
        for way in self._ways.values():
            if way is not on:
                way.swap(())  # costs nothing where it has none, and finishes what an interruption left
        on.swap(stage.stack, check, applied.stack_mode)

    def verify(self, seconds: float) -> list[str]:
        """Return the names of weights that are not pristine, merged into or quantised; seconds: for each kind."""
        return [*self.patcher.verify(seconds), *self.recompute.verify(seconds)]

    def check_called(self) -> None:
        """Raise NeverCalled where the model went past a layer of the active stack since it was applied."""
        self.bypass.check_called()
        self.recompute.check_called()

    def _cut(self, adapter: Adapter, rank: int | None) -> Adapter:
        """Return an adapter of the first ranks alone; the last one made is kept, and so is its plan."""
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
