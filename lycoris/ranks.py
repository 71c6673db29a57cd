"""The first ranks of an adapter alone: a DyLoRA is trained so that each of them is an adapter of its own."""

from dataclasses import replace

from lycoris.adapter import Adapter, Layer
from lycoris.algorithms.change import Change
from lycoris.errors import Code, Reason, StackRefused


def first_ranks(adapter: Adapter, count: int) -> Adapter:
    """Return the adapter whose LoRA layers have their first `count` ranks alone; other layers stay whole.

    What is left out is said in `ignored`, by which it is another adapter than the whole. Raises StackRefused if no
    layer has ranks in an order, or for a count below 1.
    """
    if count < 1:
        raise StackRefused([Reason(Code.NO_FORM, adapter.sha256, f"the first {count} ranks are no adapter")])
    layers: list[Layer] = []
    found = 0
    for layer in adapter.layers:
        cut = {parameter: _cut(change, count) for parameter, change in layer.changes.items()}
        found += any(cut.values())
        layers.append(replace(layer, changes={name: cut[name] or change for name, change in layer.changes.items()}))
    if not found:
        message = f"has no layer of which the first {count} ranks could be worn alone: only LoRA and LoCon have"
        raise StackRefused([Reason(Code.NO_FORM, adapter.sha256, message)])
    return replace(adapter, layers=tuple(layers), ignored=(*adapter.ignored, f"ranks above {count}"))


def _cut(change: Change, count: int) -> Change | None:
    """Return the first ranks of a change, or all of them if there are not more; None where they are in no order."""
    if change.rank is None:
        return None
    try:
        first = change.first_ranks(min(count, change.rank))
    except ValueError:
        return None
    return change if change.rank <= count else first
