"""A file's tensors for a weight of some shape: LoRA, LoHa, LoKr, what lies over them, and whole differences."""

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

RANK, ALPHA = 3, 1.5

Tensors = dict[str, Tensor]
Shape = tuple[int, ...]
Random = Callable[..., Tensor]
Build = Callable[[Shape, Random], Tensors]


def alpha() -> Tensor:
    return torch.tensor(ALPHA)


def lora(shape: Shape, r: Random) -> Tensors:
    o, i, *k = shape
    return {"lora_up.weight": r(o, RANK, *(1 for _ in k)), "lora_down.weight": r(RANK, i, *k), "alpha": alpha()}


def lora_scaled(shape: Shape, r: Random) -> Tensors:
    return lora(shape, r) | {"scale": torch.tensor(0.75)}


def lora_without_alpha(shape: Shape, r: Random) -> Tensors:
    return {name: tensor for name, tensor in lora(shape, r).items() if name != "alpha"}


def lora_tucker(shape: Shape, r: Random) -> Tensors:
    o, i, *k = shape
    ones = [1 for _ in k]
    factors = {"lora_up.weight": r(o, RANK, *ones), "lora_down.weight": r(RANK, i, *ones)}
    return factors | {"lora_mid.weight": r(RANK, RANK, *k), "alpha": alpha()}


def lora_peft_bias(shape: Shape, r: Random) -> Tensors:
    return lora(shape, r) | {"lora_B.bias": r(shape[0])}


def loha(shape: Shape, r: Random) -> Tensors:
    o, i = shape[0], prod(shape[1:])
    a, b = (o, RANK), (RANK, i)
    return {"hada_w1_a": r(*a), "hada_w1_b": r(*b), "hada_w2_a": r(*a), "hada_w2_b": r(*b), "alpha": alpha()}


def loha_tucker(shape: Shape, r: Random) -> Tensors:
    o, i, *k = shape
    halves = {f"hada_w{n}_{ab}": r(RANK, size) for n in (1, 2) for ab, size in (("a", o), ("b", i))}
    return halves | {"hada_t1": r(RANK, RANK, *k), "hada_t2": r(RANK, RANK, *k), "alpha": alpha()}


def lokr_whole(shape: Shape, r: Random) -> Tensors:
    o, i, *k = shape
    return {"lokr_w1": r(2, 4), "lokr_w2": r(o // 2, i // 4, *k), "alpha": alpha()}  # both whole: alpha means nothing


def lokr_low(shape: Shape, r: Random) -> Tensors:
    o, i, *k = shape
    return {"lokr_w1": r(2, 4), "lokr_w2_a": r(o // 2, RANK), "lokr_w2_b": r(RANK, i // 4 * prod(k)), "alpha": alpha()}


def lokr_both(shape: Shape, r: Random) -> Tensors:
    o, i, *k = shape
    left = {"lokr_w1_a": r(4, 2), "lokr_w1_b": r(2, 2)}
    return left | {"lokr_w2_a": r(o // 4, RANK), "lokr_w2_b": r(RANK, i // 2, *k), "alpha": alpha()}


def lokr_tucker(shape: Shape, r: Random) -> Tensors:
    o, i, *k = shape
    right = {"lokr_t2": r(RANK, RANK, *k), "lokr_w2_a": r(RANK, o // 2), "lokr_w2_b": r(RANK, i // 2)}
    return {"lokr_w1": r(2, 2)} | right | {"alpha": alpha()}


def full(shape: Shape, r: Random) -> Tensors:
    return {"diff": r(*shape)}


def with_bias(make: Build) -> Build:
    return lambda shape, r: make(shape, r) | {"diff_b": r(shape[0])}


def norm(shape: Shape, r: Random) -> Tensors:
    return {"w_norm": r(*shape), "b_norm": r(*shape)}


def norm_weight_only(shape: Shape, r: Random) -> Tensors:
    return {"w_norm": r(*shape)}


def dora(make: Build, axis: int) -> Build:
    def build(shape: Shape, r: Random) -> Tensors:
        magnitude = [size if k == axis else 1 for k, size in enumerate(shape)]
        return make(shape, r) | {"dora_scale": r(*magnitude).abs() + 0.1}

    return build


def dora_peft(shape: Shape, r: Random) -> Tensors:
    o, _, *k = shape
    magnitude = r(1, o, *(1 for _ in k)) if k else r(o)
    return lora(shape, r) | {"lora_magnitude_vector": magnitude.abs() + 0.1}
