"""How adapters are worn: a stack, what each adapter's strength on a layer is, and what makes a stack impossible."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import nn

from lycoris.adapter import Adapter
from lycoris.errors import Code, NoPlace, Reason, StackRefused
from lycoris.placement.resolve import Index, Plan, Target, resolve

Numbers = tuple[tuple[str, float], ...]
Signature = tuple[str, tuple[str, ...], float, Numbers, Numbers]
BLOCKS = {"down": "down_blocks", "mid": "mid_block", "up": "up_blocks"}  # what the field calls the parts of a UNet


@dataclass(frozen=True, eq=False)
class StackEntry:
    """An adapter and how much of it is worn: 0 is nothing, 1 as trained.

    strengths: by component, in place of `strength`. blocks: factors of the strength by block of the model: "down",
    "mid", "up.1", or the beginning of a module's own path ("transformer_blocks.3"); the longest that fits counts, and
    where none fits the factor is 1. Every kind of layer in a block obeys it.
    """

    adapter: Adapter
    strength: float = 1.0
    strengths: Mapping[str, float] = field(default_factory=dict)
    blocks: Mapping[str, float] = field(default_factory=dict)

    @property
    def signature(self) -> Signature:
        """What makes two ways of wearing an adapter the same."""
        strengths, blocks = (tuple(sorted(numbers.items())) for numbers in (self.strengths, self.blocks))
        return (self.adapter.sha256, self.adapter.ignored, self.strength, strengths, blocks)

    def strength_on(self, target: Target) -> float:
        """How much is worn of the change to one place of the model."""
        strength = self.strengths.get(target.component, self.strength)
        fitting = [block for block in self.blocks if _within(target, block)]
        return strength * self.blocks[max(fitting, key=lambda block: len(_path(block)))] if fitting else strength


def plans_of(stack: Sequence[StackEntry], index: Index) -> list[Plan]:
    """Return where each adapter of a stack goes; raise NoPlace with every layer of all of them that goes nowhere."""
    plans: list[Plan] = []
    unmatched: list[Reason] = []
    for entry in stack:
        try:
            plans.append(resolve(entry.adapter, index))
        except NoPlace as error:
            unmatched += error.reasons
    if unmatched:
        raise NoPlace(unmatched)
    return plans


class AppliedChange(NamedTuple):
    """One change of a stack at its strength."""

    target: Target
    strength: float
    origin: tuple[str, tuple[str, ...], int]  # sha256, ignored tensors, number of the target in its plan


def changes_of(stack: Sequence[StackEntry], plans: Sequence[Plan]) -> Iterator[AppliedChange]:
    """Yield every change of a stack in order, except those of strength 0."""
    for entry, plan in zip(stack, plans, strict=True):
        for number, target in enumerate(plan.targets):
            strength = entry.strength_on(target)
            if strength != 0:
                yield AppliedChange(target, strength, (entry.adapter.sha256, entry.adapter.ignored, number))


def problems(stack: Sequence[StackEntry], plans: Sequence[Plan]) -> Iterator[Reason]:
    """Yield why a stack cannot be worn, whatever the weights are: an adapter twice, a strength that means nothing."""
    hashes = [entry.adapter.sha256 for entry in stack]
    for sha256 in sorted({sha256 for sha256 in hashes if hashes.count(sha256) > 1}):
        yield Reason(Code.REPEATED_ADAPTER, sha256, "is in the stack more than once")
    for entry, plan in zip(stack, plans, strict=True):
        sha256 = entry.adapter.sha256
        for component, strength in (("", entry.strength), *entry.strengths.items()):
            if not math.isfinite(strength):
                yield Reason(Code.BAD_STRENGTH, sha256, f"a strength must be a finite number, not {strength}")
            if component and component not in plan.components:
                message = f"has a strength for {component}, but changes only {', '.join(plan.components)}"
                yield Reason(Code.BAD_STRENGTH, sha256, message)
        paths = Counter(map(_path, entry.blocks))
        for block, factor in entry.blocks.items():
            if paths[_path(block)] > 1:
                yield Reason(Code.BAD_STRENGTH, sha256, f"has two factors for {_path(block)}, which has two names")
            if not math.isfinite(factor):
                yield Reason(Code.BAD_STRENGTH, sha256, f"the factor of a block must be a finite number, not {factor}")
            if not any(_within(target, block) for target in plan.targets):
                yield Reason(Code.BAD_STRENGTH, sha256, f"has a factor for {block}, but changes nothing there")


def blocks_of(module: nn.Module) -> list[str]:
    """Return the parts of a model as `Worn.blocks` names them: "conv_in", "down", "down.0", "mid", …"""
    short = {path: block for block, path in BLOCKS.items()}
    blocks: list[str] = []
    for name, part in module.named_children():
        block = short.get(name, name)
        each = [f"{block}.{index}" for index in range(len(part))] if isinstance(part, nn.ModuleList) else []
        blocks += [block, *each]
    return blocks


def not_finite(names: Iterable[str]) -> StackRefused:
    """Return the refusal of a stack in which these weights or layers are not finite any more."""
    message = "is not finite any more when it wears this stack"
    return StackRefused([Reason(Code.NOT_FINITE, name, message) for name in names])


def twice(name: str, first: str) -> Reason:
    """Return why an adapter cannot be worn that has met a weight under another name already, `first`."""
    message = f"is one weight with {first}, and one adapter changes it under both names"
    return Reason(Code.DUPLICATE, name, message)


def by_sha256(stack: Sequence[StackEntry]) -> list[StackEntry]:
    """Return a stack in the order that its changes are summed in."""
    return sorted(stack, key=lambda entry: entry.adapter.sha256)


def _path(block: str) -> str:
    first, dot, rest = block.partition(".")
    return BLOCKS.get(first, first) + dot + rest


def _within(target: Target, block: str) -> bool:
    """Tell whether the first of the parameters that a change goes to is in a block; no layer spans two."""
    return f"{target.view.rows[0].parameter}.".startswith(f"{_path(block)}.")
