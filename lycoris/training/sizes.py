"""Where a layer's rank differs from the one asked for: said, or refused where it differs in every layer."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod

from lycoris.errors import Code, PlanRefused, Reason
from lycoris.training.forms import Shapes, rank_for
from lycoris.training.plan import Plan
from lycoris.training.sites import Site

# The tensor, and the axis of it, that is as long as the rank of a layer; the first that a layer has
_RANKS = {
    **{
        "lora_down.weight": 0,
        "hada_w1_b": 0,
        "hira_A": 0,
        "b2.weight": 0,
        "lokr_w2_b": 0,
        "lokr_w1_b": 0,
        "vera_lambda_d": 0,
    },
    **{"oft_blocks": -1, "c3a_kernel": 2, "hra_u": 1},
}
BY_OUTPUTS = frozenset({"oft", "boft"})  # a block is at most as large as a layer's outputs
BEYOND = frozenset({"lokr", "vera"})  # a rank above a layer's size has a meaning of its own
WHOLE = "whole"  # of LoKr's right factor
NAMED = 3  # layers that a note names


def refuse_above_all(plan: Plan, layers: Sequence[Site]) -> None:
    """Raise PlanRefused for a rank above the size of every layer; the default is cut to it, which a note says."""
    if plan.rank in (None, plan.facts.default_rank) or plan.algorithm in BEYOND:
        return
    by_outputs = plan.algorithm in BY_OUTPUTS
    largest = max(layer.shape[0] if by_outputs else min(layer.shape[0], prod(layer.shape[1:])) for layer in layers)
    if plan.rank > largest:
        message = f"is {plan.rank}, and the largest layer that is trained has room for {largest}"
        raise PlanRefused([Reason(Code.BAD_OPTION, "rank", message)])


def notes(plan: Plan, begun: Iterable[tuple[Site, Shapes]]) -> Iterator[str]:
    """Yield a sentence for every rank other than the one asked for, with the layers that have it."""
    found: dict[tuple[int, int | str], list[str]] = defaultdict(list)
    for layer, shapes in begun:
        asked, rank = rank_for(layer, plan), WHOLE if {"lokr_w1", "lokr_w2"} <= shapes.keys() else rank_of(shapes)
        if asked and rank is not None and rank != asked:
            found[asked, rank].append(layer.name)
    for (wanted, rank), names in found.items():
        listed = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
        if rank == WHOLE:
            yield f"{len(names)} layers have a whole right factor, so the scale is 1 whatever alpha says: {listed}"
        else:
            yield f"{len(names)} layers have {rank} where the rank is {wanted}, for their size: {listed}"


def rank_of(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Return the rank, or the size of a block, of a layer's tensors by their shapes; None where they have none."""
    return next((shapes[suffix][axis] for suffix, axis in _RANKS.items() if suffix in shapes), None)
