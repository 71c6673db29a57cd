"""Merge or bypass: how the adapters of a generation are applied.

The two agree but for rounding, so which of them it was is in the recipe. It is decided by the request, its adapters and
the base alone: by nothing that may differ the next time, as load, clocks, or what is active now.
"""

from collections.abc import Callable, Sequence

from app.shared.errors import BadRequest
from app.shared.wire.generation import ApplyMode, ResolvedRequest
from lycoris import Reason

NAMED = 5  # layers that a refusal names


def choose_apply_mode(
    request: ResolvedRequest, mergeable: bool, obstacles: Callable[[], Sequence[Reason]]
) -> ApplyMode:
    """Return how the generation's adapters are applied: as it says, or else by merge wherever that is possible.

    mergeable: whether every weight that they change can be merged into exactly; quantised ones cannot. obstacles:
    returns why the stack has no exact bypass, if it has none. Raises BadRequest for "bypass" where there is none.
    """
    several_in_sequence = request.stack_mode == "sequential" and len(request.adapters) > 1
    if request.apply == "merge" or not request.adapters or several_in_sequence:
        return "merge"
    if request.apply == "auto":
        return "merge" if mergeable or obstacles() else "bypass"
    if reasons := obstacles():
        raise BadRequest("bypass_impossible", f'merge it, or leave "apply" out: {_named(reasons)}')
    return "bypass"


def instead_of_bypass(reasons: Sequence[Reason], mergeable: bool) -> ApplyMode:
    """Return the way to draw a picture anew after its model has computed without calling a bypassed layer.

    Found in the first forward, so that little is drawn twice; and found anew for each generation, because the prompt
    may decide which layers are called: what was drawn before must decide no byte. Raises BadRequest where merging is
    impossible too.
    """
    if not mergeable:
        message = "quantised weights cannot be merged into, and a bypass does not reach all layers of these adapters"
        raise BadRequest("bypass_impossible", f"{message}: {_named(reasons)}")
    return "merge"


def _named(reasons: Sequence[Reason]) -> str:
    more = f" and {len(reasons) - NAMED} more" if len(reasons) > NAMED else ""
    return "; ".join(map(str, reasons[:NAMED])) + more
