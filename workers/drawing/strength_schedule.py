"""The strengths of a generation step by step: which stack is on from which step."""

from collections.abc import Sequence
from typing import NamedTuple

from app.shared.passes import total
from app.shared.wire.adapter import ResolvedAdapter, denoises
from app.shared.wire.generation import ResolvedRequest
from lycoris import Adapter, Plan, Region, StackEntry


class PlacedAdapter(NamedTuple):
    """An adapter of a request, loaded, and its places in the base."""

    use: ResolvedAdapter
    adapter: Adapter
    plan: Plan
    region: Region | None = None


class Stage(NamedTuple):
    """A stack and the step, counted from 0, before which it is applied."""

    step: int
    stack: tuple[StackEntry, ...]


def stages(request: ResolvedRequest, placed: Sequence[PlacedAdapter]) -> tuple[Stage, ...]:
    """Return the stacks of one pass of a picture, in order; the first is on from step 0.

    Step i of the n that are drawn lies at the fraction i/n of the denoising. (Of a sampler that runs the model more
    often than it has steps, several calls are one step: `Sampling` counts.)
    """
    found: list[Stage] = []
    before: list[float | None] = []
    steps = total(request)
    for step in range(steps):
        strengths = [strength_at(one.use, step / steps) for one in placed]
        if not found or strengths != before:
            stack = (_entry(one, strength) for one, strength in zip(placed, strengths, strict=True))
            found.append(Stage(step, tuple(stack)))
        before = strengths
    return tuple(found)


def strength_at(use: ResolvedAdapter, fraction: float) -> float | None:
    """Return the strength on the denoiser at a fraction of the denoising; None without a schedule."""
    return next((strength for start, strength in reversed(use.schedule) if start <= fraction), None)


def _entry(one: PlacedAdapter, strength: float | None) -> StackEntry:
    use = one.use
    by_step = {} if strength is None else dict.fromkeys(filter(denoises, one.plan.components), strength)
    return StackEntry(one.adapter, use.strength, use.strengths | by_step, use.blocks, one.region)
