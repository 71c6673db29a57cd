"""The strengths of a generation step by step: what is worn from which step on."""

from collections.abc import Sequence
from typing import NamedTuple

from app.shared.schema import ResolvedAdapter, ResolvedRequest, denoises
from lycoris import Adapter, Plan, StackEntry


class Fitted(NamedTuple):
    """An adapter of a request, read, and where in the base it goes."""

    use: ResolvedAdapter
    adapter: Adapter
    plan: Plan


class Stage(NamedTuple):
    """A stack and the step, counted from 0, before which it is put on."""

    step: int
    stack: tuple[StackEntry, ...]


def stages(request: ResolvedRequest, fitted: Sequence[Fitted]) -> tuple[Stage, ...]:
    """Return what is worn while one picture is drawn, the first stage from step 0 on.

    Step i of n lies at the fraction i/n of the denoising. (A sampler that runs the model more often than it has steps
    is at 1 by then: nothing changes there.)
    """
    found: list[Stage] = []
    before: list[float | None] = []
    for step in range(request.steps):
        strengths = [_at(one.use, step / request.steps) for one in fitted]
        if not found or strengths != before:
            stack = (_worn(one, strength) for one, strength in zip(fitted, strengths, strict=True))
            found.append(Stage(step, tuple(stack)))
        before = strengths
    return tuple(found)


def _at(use: ResolvedAdapter, fraction: float) -> float | None:
    """Return the strength on the denoiser at a fraction of the denoising; None where it does not go by steps."""
    return next((strength for start, strength in reversed(use.schedule) if start <= fraction), None)


def _worn(one: Fitted, strength: float | None) -> StackEntry:
    use = one.use
    by_step = {} if strength is None else dict.fromkeys(filter(denoises, one.plan.components), strength)
    return StackEntry(one.adapter, use.strength, use.strengths | by_step, use.blocks)
