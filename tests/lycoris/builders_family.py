"""A file's tensors for a weight of some shape: the rest of what LyCORIS and kohya write, and HiRA."""

from math import prod

import torch

from tests.lycoris.builders import RANK, Build, Random, Shape, Tensors, alpha, lora


def lora_sparse(shape: Shape, r: Random) -> Tensors:
    o, i = shape[0], prod(shape[1:])
    places = torch.randperm(o * i, generator=torch.Generator().manual_seed(0))[:5]
    indices = torch.stack((places // i, places % i)).to(torch.int16)
    size = torch.tensor((o, i), dtype=torch.int16)
    return lora(shape, r) | {"bias_indices": indices, "bias_values": r(5), "bias_size": size}


def overwrite(shape: Shape, r: Random) -> Tensors:
    return {"set_weight": r(*shape)}


def ia3(on_input: int) -> Build:
    def build(shape: Shape, r: Random) -> Tensors:
        size, ones = shape[on_input], [1 for _ in shape[2:]]
        return {"weight": r(1, size, *ones) if ones else r(size), "on_input": torch.tensor(on_input)}

    return build


def glora(shape: Shape, r: Random) -> Tensors:
    o, i, *k = shape
    ones = [1 for _ in k]
    a = {"a1.weight": r(i, RANK, *ones), "a2.weight": r(RANK, i, *ones)}
    return a | {"b1.weight": r(o, RANK, *ones), "b2.weight": r(RANK, i, *k), "alpha": alpha()}


def glora_old(shape: Shape, r: Random) -> Tensors:
    swapped = {"a1.weight": "a2.weight", "a2.weight": "a1.weight", "b1.weight": "b2.weight", "b2.weight": "b1.weight"}
    return {swapped.get(name, name): tensor for name, tensor in glora(shape, r).items()}


def oft(constraint: float) -> Build:
    return lambda shape, r: {"oft_blocks": r(shape[0] // 4, 4, 4), "alpha": torch.tensor(constraint)}


def boft(stages: int, constraint: float) -> Build:
    return lambda shape, r: {"oft_blocks": r(stages, shape[0] // 2, 2, 2), "alpha": torch.tensor(constraint)}


def rescaled(make: Build) -> Build:
    return lambda shape, r: make(shape, r) | {"rescale": 1 + r(shape[0], *(1 for _ in shape[1:]))}


def oft_split(shape: Shape, r: Random) -> Tensors:
    rest = (shape[0] - 4) // 2
    return {"oft_blocks.0": r(2, 2, 2), "oft_blocks.1": r(2, rest, rest), "alpha": torch.tensor(0.1)}


def oft_old(shape: Shape, r: Random) -> Tensors:
    return {"oft_diag": r(shape[0] // 4, 4, 4) + torch.eye(4)}


def hira(shape: Shape, r: Random) -> Tensors:
    o, i, *k = shape
    return {"hira_A": r(RANK, i, *k), "hira_B": r(o, RANK, *(1 for _ in k))}


def hira_with_alpha(shape: Shape, r: Random) -> Tensors:
    return hira(shape, r) | {"alpha": alpha()}


def tlora(shape: Shape, r: Random) -> Tensors:
    o, i, *k = shape
    ones = [1 for _ in k]
    factors = {"q_layer.weight": r(RANK, i, *ones), "p_layer.weight": r(o, RANK, *ones)}
    return factors | {"lambda_layer": r(1, RANK), "alpha": alpha()}
