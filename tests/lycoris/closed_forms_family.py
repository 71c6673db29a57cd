"""The slow twins of what is not LoRA, LoHa or LoKr: dense matrices, from the formula and nothing else, in float64."""

from collections.abc import Callable
from math import pi

import torch
from torch import Tensor

Twin = Callable[[dict[str, Tensor], Tensor, float], Tensor]


def ia3(t: dict[str, Tensor], weight: Tensor, s: float) -> Tensor:
    if "ia3_l" in t:
        scale, axis = t["ia3_l"].flatten() - 1, _peft_axis(t, weight)
    else:
        scale, axis = t["weight"].flatten(), int(t["on_input"])
    return torch.stack([row * (1 + s * x) for row, x in zip(weight.unbind(axis), scale, strict=True)], axis)


def _peft_axis(t: dict[str, Tensor], weight: Tensor) -> int:
    if "is_feedforward" in t:
        return int(t["is_feedforward"])
    linear = t["ia3_l"].ndim == 2
    return int(t["ia3_l"].shape[0] == 1) if linear else int(t["ia3_l"].numel() == weight.shape[1])


def glora(t: dict[str, Tensor], weight: Tensor, s: float) -> Tensor:
    a1, a2, b1, b2 = (t[f"{name}.weight"] for name in ("a1", "a2", "b1", "b2"))
    if len(b1) != len(weight) or len(a1) != weight.shape[1]:
        a1, a2, b1, b2 = a2, a1, b2, b1
    gamma = t["alpha"].item() / len(b2)
    inputs = torch.einsum("oi...,ir,rj->oj...", weight, a1.flatten(1), a2.flatten(1))
    return weight + s * gamma * (inputs + (b1.flatten(1) @ b2.flatten(1)).reshape(weight.shape))


def glora_peft(t: dict[str, Tensor], weight: Tensor, s: float) -> Tensor:
    flat = weight.flatten(1)
    a, b = (t[f"glora_{p}.Xd"] @ t[f"glora_{p}.Xu"] if f"glora_{p}.Xd" in t else t[f"glora_{p}.X"] for p in "AB")
    return (flat + s * (flat * a + b)).reshape(weight.shape)


def _rotation(q: Tensor) -> Tensor:
    one = torch.eye(len(q), dtype=q.dtype)
    return (one + q) @ torch.linalg.inv(one - q)


def _skew(t: dict[str, Tensor], outputs: int, name: str = "oft_blocks") -> Tensor:
    q = t[name] - t[name].transpose(-1, -2)
    most, norm = t["alpha"].item() * outputs, q.square().sum().sqrt().item()
    return q * most / norm if 0 < most < norm else q


def _part_of_the_way(rotation: Tensor, s: float) -> Tensor:
    return (1 - s) * torch.eye(len(rotation), dtype=rotation.dtype) + s * rotation


def _rescaled(t: dict[str, Tensor], flat: Tensor, s: float) -> Tensor:
    return flat * ((1 - s) + s * t["rescale"].reshape(-1, 1)) if "rescale" in t else flat


def oft(t: dict[str, Tensor], weight: Tensor, s: float) -> Tensor:
    rotation = t["oft_diag"] if "oft_diag" in t else [_rotation(q) for q in _skew(t, len(weight))]
    turned = _part_of_the_way(torch.block_diag(*rotation), s).T @ weight.flatten(1)
    return _rescaled(t, turned, s).reshape(weight.shape)


def oft_split(t: dict[str, Tensor], weight: Tensor, s: float) -> Tensor:
    sizes = len(weight) - t["oft_blocks.1"].shape[1] * 2, t["oft_blocks.1"].shape[1] * 2
    blocks = [_rotation(q) for part, size in enumerate(sizes) for q in _skew(t, size, f"oft_blocks.{part}")]
    return (_part_of_the_way(torch.block_diag(*blocks), s).T @ weight.flatten(1)).reshape(weight.shape)


def boft(t: dict[str, Tensor], weight: Tensor, s: float) -> Tensor:
    if t["oft_blocks"].ndim == 3:
        return oft(t, weight, s)
    flat, outputs = weight.flatten(1), len(weight)
    half = t["oft_blocks"].shape[-1] // 2
    for stage, blocks in enumerate(_skew(t, outputs)):
        # Row x stands at (c, g, f) = pair, side, place; the stage gathers (c, f, g).
        far = half * 2**stage
        order = [c * 2 * far + g * far + f for c in range(outputs // (2 * far)) for f in range(far) for g in range(2)]
        gather = torch.eye(outputs, dtype=flat.dtype)[order]
        rotation = _part_of_the_way(torch.block_diag(*(_rotation(q) for q in blocks)), s)
        flat = gather.T @ rotation @ gather @ flat
    return _rescaled(t, flat, s).reshape(weight.shape)


def _lerp(weight: Tensor, flat: Tensor, s: float) -> Tensor:
    return (1 - s) * weight + s * flat.reshape(weight.shape)


def oft_peft(t: dict[str, Tensor], weight: Tensor, s: float) -> Tensor:
    blocks = []
    for row in t["oft_R.weight"]:
        q = torch.zeros(4, 4, dtype=row.dtype)
        for x, (m, n) in zip(row, ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)), strict=True):
            q[m, n], q[n, m] = x, -x
        one = torch.eye(4, dtype=row.dtype)
        blocks.append(one + 2 * q + 2 * q @ q + 2 * q @ q @ q + q @ q @ q @ q if t["neumann_terms"] else _rotation(-q))
    copies = weight[0].numel() // 4 // len(blocks)
    return _lerp(weight, weight.flatten(1) @ torch.block_diag(*(blocks * copies)).T, s)


def boft_peft(t: dict[str, Tensor], weight: Tensor, s: float) -> Tensor:
    stages, count, size, _ = t["boft_R"].shape
    inputs, half = count * size, size // 2
    whole = torch.eye(inputs, dtype=weight.dtype)
    for stage in range(stages):
        wide = size * 2**stage if stages > 1 else inputs
        halves = range(wide // half) if stages > 1 else ()
        order = [x * half + y for x in (*halves[::2], *halves[1::2]) for y in range(half)] or list(range(inputs))
        permuted = [begin + x for begin in range(0, inputs, wide) for x in order]
        permutation = torch.eye(inputs, dtype=weight.dtype)[permuted]
        blocks = (_rotation((b.T - b) / 2) for b in t["boft_R"][stage])
        whole = permutation @ torch.block_diag(*blocks) @ permutation.T @ whole
    return _lerp(weight, t["boft_s"].reshape(-1, 1) * (weight.flatten(1) @ whole.T), s)


def hra(t: dict[str, Tensor], weight: Tensor, s: float) -> Tensor:
    one = torch.eye(len(t["hra_u"]), dtype=weight.dtype)
    mirrors: list[Tensor] = []
    for column in t["hra_u"].T:
        if t["apply_GS"]:
            for other in mirrors:
                column = column - (other @ column) * other
        mirrors.append(column / column.square().sum().sqrt())
    flat = weight.flatten(1)
    for mirror in mirrors:
        flat = flat @ (one - 2 * mirror[:, None] * mirror[None, :])
    return _lerp(weight, flat, s)


def hira(t: dict[str, Tensor], weight: Tensor, s: float) -> Tensor:
    gamma = t["alpha"].item() / len(t["hira_A"]) if "alpha" in t else 1.0
    return weight * (1 + s * gamma * (t["hira_B"].flatten(1) @ t["hira_A"].flatten(1)).reshape(weight.shape))


def tlora(t: dict[str, Tensor], weight: Tensor, s: float) -> Tensor:
    rank = len(t["q_layer.weight"])
    u, singular, v = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    began = u[:, :rank] @ singular[:rank].diag() @ v[:rank]
    became = t["p_layer.weight"].flatten(1) @ t["lambda_layer"].flatten().diag() @ t["q_layer.weight"].flatten(1)
    return weight + s * t["alpha"].item() / rank * (became - began).reshape(weight.shape)


def vera(t: dict[str, Tensor], weight: Tensor, s: float) -> Tensor:
    o, i = weight.shape[:2]
    up = t["vera_lambda_b"].diag() @ t["vera_B"][:o]
    return weight + s * (up @ t["vera_lambda_d"].diag() @ t["vera_A"][:, :i]).reshape(weight.shape)


def fourierft(t: dict[str, Tensor], weight: Tensor, s: float) -> Tensor:
    o, i = weight.shape[:2]
    seed = torch.Generator().manual_seed(int(t["random_loc_seed"]))
    delta = torch.zeros(o, i, dtype=weight.dtype)
    rows, columns = torch.arange(o, dtype=weight.dtype)[:, None], torch.arange(i, dtype=weight.dtype)[None, :]
    for place, height in zip(torch.randperm(o * i, generator=seed), t["fourierft_spectrum"], strict=False):
        delta += height * torch.cos(2 * pi * (int(place) // i * rows / o + int(place) % i * columns / i)) / (o * i)
    return weight + s * t["fourierft_scaling"].item() * delta.reshape(weight.shape)


def c3a(t: dict[str, Tensor], weight: Tensor, s: float) -> Tensor:
    rows, columns, size = t["c3a_kernel"].shape
    turns = [[t["c3a_kernel"][m, n].roll(p) for n in range(columns)] for m in range(rows) for p in range(size)]
    return weight + s * torch.stack([torch.cat(row) for row in turns]).reshape(weight.shape) / (columns * size)


def adalora(t: dict[str, Tensor], weight: Tensor, s: float) -> Tensor:
    rank = len(t["lora_E"])
    product = t["lora_up.weight"] @ t["lora_E"].flatten().diag() @ t["lora_down.weight"]
    return weight + s * t["alpha"].item() / (rank + 1e-5) * product.reshape(weight.shape)


def lora_sparse(t: dict[str, Tensor], weight: Tensor, s: float) -> Tensor:
    few = torch.zeros(*t["bias_size"].int().tolist(), dtype=weight.dtype)
    for row, column, value in zip(*t["bias_indices"].int(), t["bias_values"], strict=True):
        few[row, column] += value
    low = t["lora_up.weight"].flatten(1) @ t["lora_down.weight"].flatten(1)
    return weight + s * t["alpha"].item() / len(t["lora_down.weight"]) * (low + few).reshape(weight.shape)


def overwrite(t: dict[str, Tensor], weight: Tensor, s: float) -> Tensor:
    return (1 - s) * weight + s * t["set_weight"]


BY_SIGN: dict[str, Twin] = {
    **{"on_input": ia3, "ia3_l": ia3, "a1.weight": glora, "glora_A.Xd": glora_peft, "glora_A.X": glora_peft},
    **{
        "oft_diag": oft,
        "oft_blocks.0": oft_split,
        "oft_blocks": boft,
        "oft_R.weight": oft_peft,
        "boft_R": boft_peft,
        "hra_u": hra,
    },
    **{"hira_A": hira, "lambda_layer": tlora, "vera_A": vera, "fourierft_spectrum": fourierft, "c3a_kernel": c3a},
    **{"lora_E": adalora, "bias_values": lora_sparse, "set_weight": overwrite},
}
