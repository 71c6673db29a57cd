"""How the low-rank algorithms begin: all factors but one are drawn, and that one is zero, so the change is too."""

from dataclasses import replace
from math import prod

import torch

from lycoris.algorithms.dora import EPS
from lycoris.training.forms import DORA_OVER, factors_of_two, glora_rank
from lycoris.training.place import Place, Tensors


def lora(place: Place) -> Tensors:
    """LoRA and LoCon: `lora_up` is zero, as in kohya's scripts."""
    rank = place.most()
    down = place.draw.uniform("lora_down.weight", rank, place.inputs, *(place.points if place.cored else place.kernel))
    begun = {"lora_up.weight": torch.zeros(place.outputs, rank, *place.points), "lora_down.weight": down}
    if place.cored:
        begun["lora_mid.weight"] = place.draw.uniform("lora_mid.weight", rank, rank, *place.kernel)
    return begun | {"alpha": place.alpha(rank)}


def lokr(place: Place) -> Tensors:
    """LoKr: of the right factor, what LyCORIS has zero: `lokr_w2`, or `lokr_w2_b` where it is of low rank."""
    rank, draw, kernel = place.rank, place.draw, place.kernel
    a, c, b, d = factors_of_two(place)
    if place.options["decompose_both"] and rank < max(a, c) / 2:
        begun = {"lokr_w1_a": draw.uniform("lokr_w1_a", a, rank), "lokr_w1_b": draw.uniform("lokr_w1_b", rank, c)}
    else:
        begun = {"lokr_w1": draw.uniform("lokr_w1", a, c)}
    if place.options["full_matrix"] or rank >= max(b, d) / 2:
        begun["lokr_w2"] = torch.zeros(b, d, *kernel)
    elif place.cored:
        begun["lokr_t2"] = draw.uniform("lokr_t2", rank, rank, *kernel)
        begun["lokr_w2_a"] = draw.uniform("lokr_w2_a", rank, b)
        begun["lokr_w2_b"] = torch.zeros(rank, d)
    else:
        begun["lokr_w2_a"] = draw.uniform("lokr_w2_a", b, rank)
        begun["lokr_w2_b"] = torch.zeros(rank, d * prod(kernel))
    # Whole factors are not scaled by any reader: the alpha that says so is the rank itself
    return begun | {
        "alpha": torch.tensor(float(rank)) if "lokr_w2" in begun and "lokr_w1" in begun else place.alpha(rank)
    }


def loha(place: Place) -> Tensors:
    """LoHa: `hada_w2_a` is zero, the first half like noise of deviation 0.1, as in LyCORIS."""
    rank, draw = place.most(), place.draw
    sizes = (place.outputs, place.inputs if place.cored else prod(place.shape[1:]))
    a = (rank, sizes[0]) if place.cored else (sizes[0], rank)
    begun = {
        "hada_w1_a": draw.normal("hada_w1_a", 0.1, *a),
        "hada_w1_b": draw.normal("hada_w1_b", 1.0, rank, sizes[1]),
        "hada_w2_a": torch.zeros(a),
        "hada_w2_b": draw.normal("hada_w2_b", 1.0, rank, sizes[1]),
    }
    if place.cored:
        begun |= {core: draw.normal(core, 0.1, rank, rank, *place.kernel) for core in ("hada_t1", "hada_t2")}
    return begun | {"alpha": place.alpha(rank)}


def dora(place: Place) -> Tensors:
    """DoRA: the layer below begins as it does alone, and the magnitudes are the weight's own, so nothing changes.

    They lie along the outputs, as PEFT has it and LyCORIS since 3.2. The gradient goes through the norm too.
    """
    over = {"lora": lora, "loha": loha, "lokr": lokr}[place.options["over"]]
    begun = over(replace(place, options={**DORA_OVER, **place.options}))
    weight = place.weight()
    norm = torch.linalg.vector_norm(weight, dim=list(range(1, weight.ndim)), keepdim=True)
    return begun | {"dora_scale": norm + EPS}  # the very divisor of the change: the quotient is exactly 1


def glora(place: Place) -> Tensors:
    """GLoRA: one factor of each of its two products is zero, `a2` and `b1`."""
    rank, draw = glora_rank(place), place.draw
    return {
        "a1.weight": draw.uniform("a1.weight", place.inputs, rank, *place.points),
        "a2.weight": torch.zeros(rank, place.inputs, *place.points),
        "b1.weight": torch.zeros(place.outputs, rank, *place.points),
        "b2.weight": draw.uniform("b2.weight", rank, place.inputs, *place.kernel),
        "alpha": place.alpha(rank),
    }


def hira(place: Place) -> Tensors:
    """HiRA: `hira_B` is zero, as in PEFT, which has no alpha."""
    rank = place.most()
    drawn = place.draw.uniform("hira_A", rank, place.inputs, *place.kernel)
    return {"hira_A": drawn, "hira_B": torch.zeros(place.outputs, rank, *place.points)}


def vera(place: Place) -> Tensors:
    """VeRA: the outputs' vector is zero; the two matrices are drawn once for all layers, as large as the largest."""
    outputs, inputs = place.widest
    return {
        "vera_lambda_b": torch.zeros(place.outputs),
        "vera_lambda_d": torch.full((place.rank,), float(place.options["start"])),
        "vera_A": place.shared.once("vera_A", place.rank, inputs),
        "vera_B": place.shared.once("vera_B", outputs, place.rank),
    }
