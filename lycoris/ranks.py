"""The first ranks of an adapter alone: a DyLoRA is trained so that every number of first ranks is an adapter."""

from dataclasses import replace

from lycoris.adapter import Adapter, Layer
from lycoris.algorithms.change import Change
from lycoris.errors import Code, Reason, StackRefused


def first_ranks(adapter: Adapter, count: int) -> Adapter:
    """Return the adapter with only the first `count` ranks of its LoRA layers; other layers stay as they are.

    `ignored` names the ranks left out, so that it counts as a different adapter from the whole one. Raises StackRefused
    if no layer has ranks in an order, or for a count below 1.
    """
    if count < 1:
        raise StackRefused([Reason(Code.NO_FORM, adapter.sha256, f"there is no adapter of the first {count} ranks")])
    layers: list[Layer] = []
    found = 0
    for layer in adapter.layers:
        first = {parameter: _first_ranks(change, count) for parameter, change in layer.changes.items()}
        found += any(first.values())
        layers.append(replace(layer, changes={name: first[name] or change for name, change in layer.changes.items()}))
    if not found:
        message = f"has no layer of which the first {count} ranks can be applied alone: only LoRA and LoCon have"
        raise StackRefused([Reason(Code.NO_FORM, adapter.sha256, message)])
    return replace(adapter, layers=tuple(layers), ignored=(*adapter.ignored, f"ranks above {count}"))


def _first_ranks(change: Change, count: int) -> Change | None:
    """Return a change of the first ranks, at most that many; None where the ranks have no order."""
    if change.rank is None:
        return None
    try:
        first = change.first_ranks(min(count, change.rank))
    except ValueError:
        return None
    return change if change.rank <= count else first
