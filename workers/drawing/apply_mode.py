"""Merge, bypass or recompute: how the adapters of a generation are applied.

They agree but for rounding, so which of them it was is in the recipe. It is decided by request, adapters and base
alone: by nothing that may differ the next time, as load, clocks, or what is active now.

| | takes | costs |
|---|---|---|
| merge | every adapter; no quantised weight | one pass over the weights for each strength |
| bypass | changes with an exact forward form, as a sum | two thin products a call of a layer |
| recompute | every adapter | a weight in full, and its changes, a call of a layer |
"""

from collections.abc import Callable, Mapping, Sequence

from app.shared.errors import BadRequest
from app.shared.wire.generation import ApplyMode, ResolvedRequest
from lycoris import Reason

NAMED = 5  # layers that a refusal names
Obstacles = Callable[[], Sequence[Reason]]  # returns why a stack cannot be applied so, if it cannot


def choose_apply_mode(request: ResolvedRequest, mergeable: bool, obstacles: Mapping[ApplyMode, Obstacles]) -> ApplyMode:
    """Return how the generation's adapters are applied: as it says, or else by the cheapest way that is exact.

    mergeable: whether every weight that they change can be merged into exactly; quantised ones cannot. obstacles: of
    "bypass" and "recompute". Raises BadRequest for either where it is asked for and impossible.
    """
    asked = request.apply
    several_in_sequence = request.stack_mode == "sequential" and len(request.adapters) > 1
    if asked == "merge" or not request.adapters or (asked == "bypass" and several_in_sequence):
        return "merge"
    if asked == "auto":
        if mergeable:
            return "merge"
        ways: tuple[ApplyMode, ...] = ("recompute",) if several_in_sequence else ("bypass", "recompute")
        for way in ways:
            if not obstacles[way]():
                return way
        return "merge"  # which refuses the weights by name
    way: ApplyMode = asked
    if reasons := obstacles[way]():
        raise BadRequest(f"{way}_impossible", f'merge it, or leave "apply" out: {_named(reasons)}')
    return way


def merge_instead(way: ApplyMode, reasons: Sequence[Reason], mergeable: bool) -> ApplyMode:
    """Return the way to draw a picture anew after its model has computed without calling a layer that it was to change.

    Found in the first forward, so that little is drawn twice; and found anew for each generation, because the prompt
    may decide which layers are called: what was drawn before must decide no byte. Raises BadRequest where merging is
    impossible too.
    """
    if not mergeable:
        message = f"quantised weights cannot be merged into, and {way} does not reach all layers of these adapters"
        raise BadRequest(f"{way}_impossible", f"{message}: {_named(reasons)}")
    return "merge"


def _named(reasons: Sequence[Reason]) -> str:
    more = f" and {len(reasons) - NAMED} more" if len(reasons) > NAMED else ""
    return "; ".join(map(str, reasons[:NAMED])) + more
