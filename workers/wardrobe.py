"""What the base wears while it draws: every generation is fitted once, and then dressed stage by stage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import nn

from app.shared.schema import ResolvedRequest
from lycoris.adapter import Adapter
from lycoris.patcher import Mode, Patcher
from lycoris.targets import Index, Plan, resolve
from workers.stages import Fitted, Stage, stages


@dataclass(frozen=True)
class Outfit:
    """How a generation is dressed: what is worn from which step on."""

    mode: Mode
    stages: tuple[Stage, ...]


class Wardrobe:
    """Dresses one base model, generation by generation."""

    def __init__(self, components: Mapping[str, nn.Module]) -> None:
        self._index = Index(components)
        self._plans: WeakKeyDictionary[Adapter, Plan] = WeakKeyDictionary()
        self.patcher = Patcher(components)

    def fit(self, request: ResolvedRequest, adapters: Sequence[Adapter]) -> Outfit:
        """Return how the generation is dressed; raise NoPlace for an adapter that the base has no place for."""
        fitted = [
            Fitted(use, adapter, self._plan(adapter)) for use, adapter in zip(request.adapters, adapters, strict=True)
        ]
        return Outfit(request.stack_mode, stages(request, fitted))

    def dress(self, outfit: Outfit, step: int, check: Callable[[], None] | None = None) -> None:
        """Put on what is worn from this step on; between two stages nothing is done.

        check: called between weights; what it raises stops the change, and the model then wears nothing.
        """
        stage = next((stage for stage in outfit.stages if stage.step == step), None)
        if stage is not None:
            self.patcher.swap(stage.stack, check, outfit.mode)

    def _plan(self, adapter: Adapter) -> Plan:
        if adapter not in self._plans:
            self._plans[adapter] = resolve(adapter, self._index)
        return self._plans[adapter]
