"""Layers that a file trains with more inputs than the model's have: the usual part, and what the others add.

W' = [W₀ | 0] + s·γ·up·[down₁ | down₂], so W'·[x | c] = (W₀ + s·γ·up·down₁)·x + s·γ·up·(down₂·c). The first term is a
LoRA of the layer as it is; the second is added to what it puts out. FLUX.1's control LoRAs are made so.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from lycoris.adapter import Adapter
from lycoris.algorithms.lora import LoRA
from lycoris.placement.resolve import Index


@dataclass(frozen=True, eq=False)
class FurtherInputs:
    """What a LoRA makes of inputs that the layer does not have: γ·up·(down·c)."""

    up: Tensor  # (o, r)
    down: Tensor  # (r, i)
    gamma: float


def further_inputs(adapter: Adapter, index: Index, component: str, path: str) -> tuple[Adapter, FurtherInputs] | None:
    """Return an adapter without the further inputs of a linear layer, and these; None where it has no such.

    They are as many as the layer's own. path: of the layer in the component.
    """
    shape = index.shapes.get(component, {}).get(f"{path}.weight", ())
    for at, layer in enumerate(adapter.layers):
        change = layer.changes.get("weight")
        wide = len(shape) == 2 and type(change) is LoRA and change.shape == (shape[0], 2 * shape[1])
        if not wide or not _is(index, adapter, at, component, path):
            continue
        assert isinstance(change, LoRA)
        own = replace(change, lora_down=change.lora_down[:, : shape[1]].contiguous())
        narrow = replace(layer, changes={**layer.changes, "weight": own})
        further = FurtherInputs(change.lora_up, change.lora_down[:, shape[1] :].contiguous(), change.gamma)
        return replace(adapter, layers=(*adapter.layers[:at], narrow, *adapter.layers[at + 1 :])), further
    return None


def _is(index: Index, adapter: Adapter, at: int, component: str, path: str) -> bool:
    """Tell whether a layer of an adapter is the one at a path, all of it."""
    found = index.modules_of(adapter.layers[at])
    return len(found) == 1 and found[0][0] == component and [(one.path, one.of) for one in found[0][1]] == [(path, 1)]
