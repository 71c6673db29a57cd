"""How the low-rank algorithms begin: all factors but one are drawn, and that one is zero, so the change is too."""

from math import isqrt, prod

import torch

from lycoris.training.place import Place, Tensors, divisor


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
    outputs, inputs, rank, draw = place.outputs, place.inputs, place.rank, place.draw
    factor = int(place.options["factor"])
    a, c = (divisor(size, isqrt(size) if factor < 0 else factor) for size in (outputs, inputs))
    b, d, kernel = outputs // a, inputs // c, place.kernel
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
    return begun | {"alpha": place.alpha(rank)}
