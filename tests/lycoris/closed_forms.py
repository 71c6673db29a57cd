"""The slow twins: every algorithm written out once more, in float64, from the formula in the paper and nothing else."""

import torch
from torch import Tensor

from tests.lycoris.closed_forms_family import BY_SIGN


def expected_weight(tensors: dict[str, Tensor], pristine: Tensor, strength: float) -> Tensor:
    """Return F(W₀; s) of a module's weight, in float64."""
    t = {name: tensor.double() for name, tensor in tensors.items()}
    weight = pristine.double()
    twin = next((twin for sign, twin in BY_SIGN.items() if sign in t), None)
    if twin is not None:
        return twin(t, weight, strength)
    magnitude = t.get("dora_scale", t.get("lora_magnitude_vector"))
    if magnitude is None:
        return weight + strength * _delta(t, weight)
    turned = weight + _delta(t, weight)
    per_input = "dora_scale" in t and magnitude.shape[0] == 1
    axes = [axis for axis in range(weight.ndim) if axis != int(per_input)]
    norm = turned.square().sum(axes, keepdim=True).sqrt()
    column = magnitude.reshape(norm.shape)
    return weight + strength * (column * turned / norm - weight)


def expected_bias(tensors: dict[str, Tensor], pristine: Tensor, strength: float, weight: Tensor) -> Tensor:
    """Return F(b₀; s) of a module's bias, given the module's pristine weight, in float64."""
    t = {name: tensor.double() for name, tensor in tensors.items()}
    added = t.get("diff_b", t.get("b_norm"))
    if "lora_B.bias" in t:
        added = t["lora_B.bias"] * _gamma(t, len(t["lora_down.weight"]))
    if "ia3_l" in t:
        added = pristine.double() * (t["ia3_l"].flatten() - 1)
    if "glora_D.X" in t:
        added = pristine.double() * t["glora_D.X"] + t["glora_E.X"]
        if "glora_C.Xd" in t:
            added = added + (weight.double().flatten(1) @ t["glora_C.Xd"] @ t["glora_C.Xu"]).flatten()
    return pristine.double() + (strength * added if added is not None else 0)


def _delta(t: dict[str, Tensor], weight: Tensor) -> Tensor:
    for name in ("diff", "w_norm"):
        if name in t:
            return t[name]
    if "lora_mid.weight" in t:
        up, mid, down = (t[f"lora_{part}.weight"] for part in ("up", "mid", "down"))
        return _gamma(t, len(down)) * torch.einsum("omxy,mnab,niuv->oiab", up, mid, down)
    if "lora_up.weight" in t:
        up, down = t["lora_up.weight"].flatten(1), t["lora_down.weight"].flatten(1)
        return (_gamma(t, len(down)) * up @ down).reshape(weight.shape)
    if "hada_t1" in t:
        halves = [
            torch.einsum("mnab,mo,ni->oiab", t[f"hada_t{k}"], t[f"hada_w{k}_a"], t[f"hada_w{k}_b"]) for k in (1, 2)
        ]
        return _gamma(t, len(t["hada_w1_b"])) * halves[0] * halves[1]
    if "hada_w1_a" in t:
        halves = [t[f"hada_w{k}_a"] @ t[f"hada_w{k}_b"] for k in (1, 2)]
        return (_gamma(t, len(t["hada_w1_b"])) * halves[0] * halves[1]).reshape(weight.shape)
    return _kronecker(t, weight)


def _kronecker(t: dict[str, Tensor], weight: Tensor) -> Tensor:
    left = t["lokr_w1"] if "lokr_w1" in t else t["lokr_w1_a"] @ t["lokr_w1_b"]
    if "lokr_w2" in t:
        right, scale = t["lokr_w2"].flatten(1), t["scale"].item() if "scale" in t else 1.0
    elif "lokr_t2" in t:
        core = torch.einsum("mnab,mo,ni->oiab", t["lokr_t2"], t["lokr_w2_a"], t["lokr_w2_b"])
        right, scale = core.flatten(1), _gamma(t, len(t["lokr_w2_b"]))
    else:
        right, scale = t["lokr_w2_a"] @ t["lokr_w2_b"].flatten(1), _gamma(t, len(t["lokr_w2_b"]))
    return (scale * torch.kron(left, right.contiguous())).reshape(weight.shape)


def _gamma(t: dict[str, Tensor], rank: int) -> float:
    if "scale" in t:
        return t["scale"].item()
    return t["alpha"].item() / rank if t.get("alpha", torch.tensor(0.0)).item() else 1.0
