"""A stack of adapters: the strength of each on a layer, and the reasons why a stack cannot be applied."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import nn

from lycoris.adapter import Adapter
from lycoris.errors import Code, NoPlace, Reason
from lycoris.hooked.region import Region
from lycoris.placement.resolve import Index, Plan, Target, resolve

Numbers = tuple[tuple[str, float], ...]
EntryKey = tuple[str, tuple[str, ...], float, Numbers, Numbers, str]
BLOCK_PATHS = {"down": "down_blocks", "mid": "mid_block", "up": "up_blocks"}  # short names for parts of a UNet


@dataclass(frozen=True, eq=False)
class StackEntry:
    """An adapter and the strength to apply it at: 0 is nothing, 1 is as trained.

    strengths: by component, in place of `strength`. blocks: factors of the strength by block of the model: "down",
    "mid", "up.1", or the beginning of a module's own path ("transformer_blocks.3"); the longest that fits counts, and
    where none fits the factor is 1. It holds for every kind of layer in a block. region: where in the picture it is
    added, which `Bypass` alone can.
    """

    adapter: Adapter
    strength: float = 1.0
    strengths: Mapping[str, float] = field(default_factory=dict)
    blocks: Mapping[str, float] = field(default_factory=dict)
    region: Region | None = None

    @property
    def key(self) -> EntryKey:
        """Equal for two entries that change a model in the same way."""
        strengths, blocks = (tuple(sorted(numbers.items())) for numbers in (self.strengths, self.blocks))
        region = self.region.key if self.region else ""
        return (self.adapter.sha256, self.adapter.ignored, self.strength, strengths, blocks, region)

    def strength_on(self, target: Target) -> float:
        """Return the strength for the change of one target."""
        return self.strengths.get(target.component, self.strength) * factor_at(target.first_parameter, self.blocks)


def factor_at(path: str, blocks: Mapping[str, float]) -> float:
    """Return the factor of the innermost block that a module or parameter lies in; 1 where it lies in none."""
    fitting = [block for block in blocks if _within(path, block)]
    return blocks[max(fitting, key=lambda block: len(_path(block)))] if fitting else 1.0


def plans_of(stack: Sequence[StackEntry], index: Index) -> list[Plan]:
    """Return the plan of every adapter of a stack; raise NoPlace with every layer of all adapters that has no place."""
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
    region: Region | None = None


def changes_of(stack: Sequence[StackEntry], plans: Sequence[Plan]) -> list[AppliedChange]:
    """Return every change of a stack in order, except those of strength 0."""
    return [
        AppliedChange(target, strength, (entry.adapter.sha256, entry.adapter.ignored, number), entry.region)
        for entry, plan in zip(stack, plans, strict=True)
        for number, target in enumerate(plan.targets)
        if (strength := entry.strength_on(target)) != 0
    ]


def problems(stack: Sequence[StackEntry], plans: Sequence[Plan]) -> Iterator[Reason]:
    """Yield why a stack cannot be applied, whatever the weights are: an adapter twice, a strength without meaning."""
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
            if not any(_within(target.first_parameter, block) for target in plan.targets):
                yield Reason(Code.BAD_STRENGTH, sha256, f"has a factor for {block}, but changes nothing there")


def masked(stack: Sequence[StackEntry]) -> Iterator[Reason]:
    """Yield a reason for every adapter that is kept to a region, which a changed weight cannot be."""
    for entry in stack:
        if entry.region:
            message = "is kept to a region of the picture, and a weight is the same everywhere: it needs a bypass"
            yield Reason(Code.NO_FORM, entry.adapter.sha256, message)


def blocks_of(module: nn.Module) -> list[str]:
    """Return the parts of a model as `StackEntry.blocks` names them: "conv_in", "down", "down.0", "mid", …"""
    short = {path: block for block, path in BLOCK_PATHS.items()}
    blocks: list[str] = []
    for name, part in module.named_children():
        block = short.get(name, name)
        each = [f"{block}.{index}" for index in range(len(part))] if isinstance(part, nn.ModuleList) else []
        blocks += [block, *each]
    return blocks


def changed_twice(name: str, first: str) -> Reason:
    """Return the reason for an adapter that changes one weight under two names, `first` and `name`."""
    message = f"is one weight with {first}, and one adapter changes it under both names"
    return Reason(Code.DUPLICATE, name, message)


def by_sha256(stack: Sequence[StackEntry]) -> list[StackEntry]:
    """Return a stack in the order in which its changes are summed."""
    return sorted(stack, key=lambda entry: entry.adapter.sha256)


def _path(block: str) -> str:
    first, dot, rest = block.partition(".")
    return BLOCK_PATHS.get(first, first) + dot + rest


def _within(path: str, block: str) -> bool:
    return f"{path}.".startswith(f"{_path(block)}.")
