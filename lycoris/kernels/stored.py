"""Weights as they are stored: which of them are quantised, and the numbers that those stand for.

| made by | what tells | numbers |
|---|---|---|
| torch | a float dtype, and torch's own type | the weight itself |
| diffusers, of a GGUF file | its type comes from a module that can read it | that module's `dequantize_gguf_tensor` |
| torchao, quanto | a type of their own, whose dtype is a float's | its `dequantize` |
| bitsandbytes, in four bits | an integer dtype, and the `quant_state` that reads it | its `dequantize_4bit` |
| bitsandbytes in eight bits, and others | an integer dtype, or a type of their own | not known here |
"""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
OF_TORCH = (Tensor, nn.Parameter)
GGUF = "dequantize_gguf_tensor"
FOUR_BITS = "bitsandbytes.functional"


def quantised(weight: Tensor) -> bool:
    """Tell whether a weight is stored otherwise than as one float for each of its numbers."""
    return weight.dtype not in FLOATS or type(weight) not in OF_TORCH


def merge_obstacles(components: Mapping[str, nn.Module]) -> dict[str, dict[str, str]]:
    """Return component -> parameter -> why nothing can be merged into it exactly, of those that it is so with."""
    return {
        component: {
            name: f"is quantised ({stored_as(weight)}), and cannot be changed exactly"
            for name, weight in module.named_parameters(remove_duplicate=False)
            if quantised(weight)
        }
        for component, module in components.items()
    }


def readable(weight: Tensor) -> bool:
    """Tell whether `dense` can read a weight."""
    if not quantised(weight) or _of_gguf(weight) or _of_four_bits(weight):
        return True
    return type(weight).dequantize is not Tensor.dequantize


def dense(weight: Tensor) -> Tensor:
    """Return the numbers of a weight in its logical shape: float32 of a quantised one, else the weight itself.

    No gradient goes into it. Raises TypeError for what is not `readable`.
    """
    if not quantised(weight):
        return weight.detach()
    if _of_gguf(weight):
        return getattr(sys.modules[type(weight).__module__], GGUF)(weight).detach().float()
    if _of_four_bits(weight):
        state: Any = getattr(weight, "quant_state")  # noqa: B009  # of no Tensor that torch knows
        return sys.modules[FOUR_BITS].dequantize_4bit(weight.data, state).detach().float()
    if not readable(weight):
        raise TypeError(f"a {type(weight).__name__} of {weight.dtype} is stored in a way that is not known here")
    return weight.dequantize().detach().float()  # in this order: quanto's weights cannot be detached in inference mode


def storage(weight: Tensor) -> Iterator[Tensor]:
    """Yield the tensors that hold a weight: itself, or the parts of a quantised one."""
    flatten: Any = getattr(weight, "__tensor_flatten__", None)  # of a tensor made of tensors, as torchao's and quanto's
    if flatten is None:
        yield weight.detach().as_subclass(Tensor)
        state: Any = getattr(weight, "quant_state", None)
        while state is not None:  # the scales of four bits are quantised in their turn
            yield from (state.absmax, state.code)
            state = state.state2
        return
    for part in flatten()[0]:
        yield from storage(getattr(weight, part))


def stored_as(weight: Tensor) -> str:
    """Return what the numbers of a weight are stored as: `Q8_0` and its like of GGUF, `nf4`, else a dtype."""
    if _of_gguf(weight):
        return getattr(weight, "quant_type").name  # noqa: B009  # of no Tensor that torch knows
    if _of_four_bits(weight):
        return getattr(weight, "quant_state").quant_type  # noqa: B009  # as above
    largest = max(storage(weight), key=Tensor.numel)
    return str(largest.dtype).removeprefix("torch.")


def _of_four_bits(weight: Tensor) -> bool:
    return getattr(weight, "quant_state", None) is not None and FOUR_BITS in sys.modules


def _of_gguf(weight: Tensor) -> bool:
    return hasattr(weight, "quant_type") and hasattr(sys.modules.get(type(weight).__module__), GGUF)
