"""How far the first step of AdamW moves a weight: what makes one learning rate mean different things."""

import torch
from torch import Tensor, nn

from lycoris.training.draw import generator
from lycoris.training.plan import Plan
from lycoris.training.trainable import TrainableAdapter, begin

SIZE = 640  # of the square layer that `Algorithm.first_change` is told of
TINY = 1e-5  # a learning rate at which the change is still as its gradient says


def first_change(plan: Plan, size: int = SIZE, seed: int = 0) -> float:
    """Return the root mean square of the first step's change of a size×size weight, per unit of learning rate.

    The weight is uniform in ±1/√size, or 1 for a norm, and the loss is linear in the change with random signs: AdamW's
    first step is ±rate whatever the size of a gradient.
    """
    draw = generator(seed, "first step")
    layer: nn.Module = nn.LayerNorm(size) if "norm" in plan.facts.reaches else nn.Linear(size, size, bias=False)
    if isinstance(layer, nn.Linear):
        with torch.no_grad():
            layer.weight.copy_((torch.rand(size, size, generator=draw) * 2 - 1) / size**0.5)
    adapter = begin({"unet": nn.ModuleDict({"layer": layer})}, plan, seed)
    weight = layer.get_parameter("weight").detach()
    before = _change(adapter, weight)
    optimizer = torch.optim.AdamW(adapter.factors.values(), lr=TINY, weight_decay=0.0, eps=1e-30)
    (before * torch.randn(weight.shape, generator=draw)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        return float((_change(adapter, weight) - before).pow(2).mean().sqrt()) / TINY


def _change(adapter: TrainableAdapter, weight: Tensor) -> Tensor:
    change = torch.zeros_like(weight)
    adapter.adapter.layers[0].changes["weight"].add_change(change, weight, 1.0)
    return change
