"""Merge, bypass or recompute: how the adapters of a generation are applied, and why so.

They agree but for rounding, so which of them it was is in the recipe. It is decided by request, adapters and base
alone: by nothing that may differ the next time, as load, clocks, or what is active now.

| | takes | costs |
|---|---|---|
| merge | every adapter; no quantised weight | one pass over the weights for each strength |
| bypass | changes with an exact forward form, as a sum | two thin products a call of a layer |
| recompute | every adapter | a weight in full, and its changes, a call of a layer |
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from app.shared.errors import BadRequest
from app.shared.obstacles import told
from app.shared.sequence import changes_weights, in_sequence
from app.shared.wire.adapter import AdapterKind
from app.shared.wire.generation import AppliedBecause, ApplyMode, ResolvedRequest
from lycoris import Reason

Obstacles = Callable[[], Sequence[Reason]]  # returns why a stack cannot be applied so, if it cannot


class Choice(NamedTuple):
    """A way of applying, and why it is this one."""

    mode: ApplyMode
    because: AppliedBecause


def choose_apply_mode(
    request: ResolvedRequest, mergeable: bool, obstacles: Mapping[ApplyMode, Obstacles], masked: bool = False
) -> Choice:
    """Return how the generation's adapters are applied: as it says, or else by the cheapest way that is exact.

    mergeable: whether every weight that they change can be merged into exactly; quantised ones cannot. obstacles: of
    "bypass" and "recompute". masked: whether some are kept to a region, which a bypass alone can. A way that is asked
    for and that "auto" would take as well has its reason, so that it is the same picture. Raises BadRequest for a way
    that is asked for and impossible.
    """
    asked = request.apply
    kinds: list[AdapterKind] = [use.kind for use in request.adapters]
    sequence, stacked = in_sequence(request.stack_mode, kinds), any(map(changes_weights, kinds))
    if masked:
        if asked in ("merge", "recompute") or sequence:
            raise BadRequest("mask_needs_bypass", "an adapter with a mask is applied by bypass, as a sum")
        if reasons := obstacles["bypass"]():
            raise BadRequest("bypass_impossible", f"an adapter with a mask is applied by bypass: {_told(reasons)}")
        return Choice("bypass", "masked")
    if asked == "bypass" and sequence:  # of version 0.1, which merged them
        return Choice("merge", "in_sequence")
    if asked in ("bypass", "recompute") and stacked and (reasons := obstacles[asked]()):
        raise BadRequest(f"{asked}_impossible", f'leave "apply" out, or ask for another: {_told(reasons)}')
    cheapest = _cheapest(mergeable or not stacked, sequence, obstacles)
    return cheapest if asked in ("auto", cheapest.mode) or not stacked else Choice(asked, "asked")


def _cheapest(mergeable: bool, sequence: bool, obstacles: Mapping[ApplyMode, Obstacles]) -> Choice:
    if mergeable:
        return Choice("merge", "mergeable")
    if not sequence and not obstacles["bypass"]():
        return Choice("bypass", "quantised")
    if not obstacles["recompute"]():
        return Choice("recompute", "in_sequence" if sequence else "no_forward_form")
    return Choice("merge", "asked")  # which refuses the weights by name


def after_never_called(mode: ApplyMode, reasons: Sequence[Reason], further: ApplyMode | None) -> Choice:
    """Return the way to draw a picture anew after its model has computed without calling a layer that it was to change.

    Found in the first forward, so that little is drawn twice; and found anew for each generation, because the prompt
    may decide which layers are called: what was drawn before must decide no byte. further: the next way to try. Raises
    BadRequest where there is none.
    """
    if further is None:
        message = f"neither quantised weights nor masks are merged, and {mode} does not reach all layers here"
        raise BadRequest(f"{mode}_impossible", f"{message}: {_told(reasons)}")
    return Choice(further, "never_called")


def _told(reasons: Sequence[Reason]) -> str:
    return told((reason.subject, reason.message) for reason in reasons)
