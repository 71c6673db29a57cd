"""Dropout of an adapter's change while it is trained: what is dropped is named, and the rest is scaled up for it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from lycoris.adapter import Adapter
from lycoris.algorithms.change import Change
from lycoris.errors import Code, PlanRefused, Reason
from lycoris.training.draw import generator
from lycoris.training.plan import Plan, refuse_dropout

# Fields of a change that its result is linear in, whose first axis is the rank; with both of GLoRA's two products
RANKS = ("lora_down", "hada_w1_b", "lokr_w2_b", "hira_A", "vera_lambda_d", "a2", "b2")


@dataclass
class Dropout:
    """The parts of an adapter's change that are left out of a forward, on average; the rest is divided by 1 − part.

    outputs: of the rows of each layer's change. ranks: of the ranks of each layer's factors, where it has some. layers:
    of all layers. What is left out is decided by the seed, `step` and the layer's name alone; set `step` before each
    forward, and leave it until its gradients are computed.
    """

    seed: int
    outputs: float = 0.0
    ranks: float = 0.0
    layers: float = 0.0
    step: int = 0

    def check(self, plan: Plan) -> None:
        """Raise PlanRefused for a part that is out of range, or of ranks that a plan's factors do not have."""
        refuse_dropout(plan, self.outputs, self.ranks, self.layers)

    def over(self, adapter: Adapter) -> Adapter:
        """Return an adapter of the same factors whose changes are dropped in part.

        Raises PlanRefused for a part of ranks where every layer's factors are whole.
        """
        changes = [change for each in adapter.layers for change in each.changes.values()]
        if self.ranks and not any(_ranked(change) for change in changes):
            message = "has no effect: every layer's factors are whole, for their size; take a lower rank"
            raise PlanRefused([Reason(Code.BAD_OPTION, "rank_dropout", message)])
        layers = (
            replace(each, changes={name: Dropped(change, each.name, self) for name, change in each.changes.items()})
            for each in adapter.layers
        )
        return replace(adapter, layers=tuple(layers))

    def kept(self, part: float, kind: str, layer: str, count: int = 1) -> Tensor:
        """Return `count` factors: 0 for what is left out now, 1/(1 − part) for the rest."""
        drawn = torch.rand(count, generator=generator(self.seed, "dropout", kind, self.step, layer))
        return (drawn >= part) / (1 - part)


@dataclass(frozen=True, eq=False, repr=False)
class Dropped(Change):
    """A change of which parts are left out, anew in every step."""

    change: Change
    layer: str
    dropout: Dropout

    SUFFIXES: ClassVar[Mapping[str, str]] = {}
    SIGNS: ClassVar[frozenset[str]] = frozenset()

    def add_change(self, change: Tensor, pristine: Tensor, strength: float) -> None:
        dropout, inner = self.dropout, self.change
        scale = dropout.kept(dropout.layers, "layer", self.layer)
        if not scale.any():
            return
        if dropout.ranks:
            inner = self._fewer_ranks()
        if dropout.outputs:
            scale = scale * dropout.kept(dropout.outputs, "output", self.layer, len(change))
        added = torch.zeros_like(change)
        inner.add_change(added, pristine, strength)
        change.add_(added * scale.to(change).reshape(-1, *(1,) * (change.ndim - 1)))

    def _fewer_ranks(self) -> Change:
        fewer: dict[str, Any] = {}
        for name, factor in _ranked(self.change).items():
            kept = self.dropout.kept(self.dropout.ranks, name, self.layer, len(factor))
            fewer[name] = factor * kept.to(factor).reshape(-1, *(1,) * (factor.ndim - 1))
        return replace(self.change, **fewer) if fewer else self.change  # pyright: ignore[reportArgumentType]

    @property
    def name(self) -> str:
        return self.change.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.change.shape

    @property
    def rank(self) -> int | None:
        return self.change.rank

    def problems(self) -> Iterator[str]:
        yield from self.change.problems()

    def misfit(self, target: torch.Size | tuple[int, ...]) -> str | None:
        return self.change.misfit(target)


def _ranked(change: Change) -> dict[str, Tensor]:
    """Return a change's factors whose first axis is the rank, by field."""
    found = {name: getattr(change, name, None) for name in RANKS}
    return {name: factor for name, factor in found.items() if factor is not None}
