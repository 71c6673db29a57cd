"""A file's tensors for a weight of some shape: what PEFT alone writes, and the settings from its configuration."""

from math import prod

import torch

from tests.lycoris.builders import ALPHA, RANK, Build, Random, Shape, Tensors


def lokr_whole(shape: Shape, r: Random) -> Tensors:
    o, i, *k = shape
    return {"lokr_w1": r(2, 4), "lokr_w2": r(o // 2, i // 4, *k), "scale": torch.tensor(0.5)}


def adalora(shape: Shape, r: Random) -> Tensors:
    factors = {"lora_up.weight": r(shape[0], RANK), "lora_down.weight": r(RANK, prod(shape[1:]))}
    return factors | {"lora_E": r(RANK, 1), "alpha": torch.tensor(ALPHA)}


def ia3(axis: int) -> Build:
    def build(shape: Shape, r: Random) -> Tensors:
        size, ones = shape[axis], [1 for _ in shape[2:]]
        linear = (1, size) if axis else (size, 1)
        return {"ia3_l": 1 + (r(1, size, *ones) if ones else r(*linear))}

    return build


def ia3_feedforward(shape: Shape, r: Random) -> Tensors:
    return ia3(1)(shape, r) | {"is_feedforward": torch.tensor(1)}


def glora(shape: Shape, r: Random) -> Tensors:
    o, i = shape[0], prod(shape[1:])
    paths = {f"glora_{p}.{x}": r(*size) for p in "AB" for x, size in (("Xd", (o, RANK)), ("Xu", (RANK, i)))}
    return paths | {"glora_C.zeros": torch.zeros(i, 1), "glora_D.X": r(o), "glora_E.X": r(o)}


def glora_columns(shape: Shape, r: Random) -> Tensors:
    o, i = shape[0], prod(shape[1:])
    paths = {"glora_A.X": r(o, 1), "glora_B.X": r(1), "glora_C.X": torch.zeros(i, 1)}
    return paths | {"glora_D.X": r(1), "glora_E.X": r(1)}


def glora_with_weight(shape: Shape, r: Random) -> Tensors:
    o, i = shape[0], prod(shape[1:])
    paths = {"glora_A.X": r(o, 1), "glora_B.X": r(o, 1), "glora_C.Xd": r(i, RANK), "glora_C.Xu": r(RANK, 1)}
    return paths | {"glora_D.X": r(o), "glora_E.X": r(o)}


def oft(terms: int) -> Build:
    return lambda shape, r: {"oft_R.weight": r(shape[1] // 4, 6), "neumann_terms": torch.tensor(terms)}


def oft_shared(shape: Shape, r: Random) -> Tensors:
    return {"oft_R.weight": r(1, 6), "neumann_terms": torch.tensor(0)}


def boft(stages: int) -> Build:
    def build(shape: Shape, r: Random) -> Tensors:
        scale = (1, shape[0]) if shape[2:] else (shape[0], 1)
        return {"boft_R": r(stages, prod(shape[1:]) // 2, 2, 2), "boft_s": 1 + r(*scale)}

    return build


def hra(schmidt: int) -> Build:
    return lambda shape, r: {"hra_u": r(prod(shape[1:]), RANK), "apply_GS": torch.tensor(schmidt)}


def vera(shape: Shape, r: Random) -> Tensors:
    o, i = shape[:2]
    vectors = {"vera_lambda_b": r(o), "vera_lambda_d": r(RANK)}
    return vectors | {"vera_A": r(RANK, i + 2), "vera_B": r(o + 1, RANK)}


def fourierft(shape: Shape, r: Random) -> Tensors:
    del shape
    facts = {"fourierft_scaling": torch.tensor(150.0), "random_loc_seed": torch.tensor(777)}
    return {"fourierft_spectrum": r(7)} | facts


def c3a(shape: Shape, r: Random) -> Tensors:
    return {"c3a_kernel": r(shape[0] // 4, shape[1] // 4, 4)}
