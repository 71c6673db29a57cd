"""Every kind of layer and, for each algorithm, a file's tensors for it: what the laws are tried on.

A new algorithm is one entry in ALGORITHMS and one closed form in `closed_forms.py`.
"""

from collections.abc import Callable, Iterator
from math import prod

import safetensors.torch
import torch
from torch import Tensor, nn

RANK, ALPHA = 3, 1.5
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(12, 8),
    "square": lambda: nn.Linear(8, 8),
    "conv3x3": lambda: nn.Conv2d(4, 8, 3, padding=1),
    "conv1x1": lambda: nn.Conv2d(4, 8, 1),
    "grouped": lambda: nn.Conv2d(8, 12, 3, padding=1, groups=2),
    "strided": lambda: nn.Conv2d(4, 8, 3, stride=2, padding=1),
    "layernorm": lambda: nn.LayerNorm(8),
    "groupnorm": lambda: nn.GroupNorm(2, 8),
}
MATRICES = ("linear", "square", "conv3x3", "conv1x1", "grouped", "strided")
KERNELS = ("conv3x3", "grouped", "strided")
NORMS = ("layernorm", "groupnorm")

Tensors = dict[str, Tensor]
Shape = tuple[int, ...]
Random = Callable[..., Tensor]


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


def with_bias(make: Callable[[Shape, Random], Tensors]) -> Callable[[Shape, Random], Tensors]:
    return lambda shape, r: make(shape, r) | {"diff_b": r(shape[0])}


def norm(shape: Shape, r: Random) -> Tensors:
    return {"w_norm": r(*shape), "b_norm": r(*shape)}


def norm_weight_only(shape: Shape, r: Random) -> Tensors:
    return {"w_norm": r(*shape)}


def dora(make: Callable[[Shape, Random], Tensors], axis: int) -> Callable[[Shape, Random], Tensors]:
    def build(shape: Shape, r: Random) -> Tensors:
        magnitude = [size if k == axis else 1 for k, size in enumerate(shape)]
        return make(shape, r) | {"dora_scale": r(*magnitude).abs() + 0.1}

    return build


def dora_peft(shape: Shape, r: Random) -> Tensors:
    o, _, *k = shape
    magnitude = r(1, o, *(1 for _ in k)) if k else r(o)
    return lora(shape, r) | {"lora_magnitude_vector": magnitude.abs() + 0.1}


ALGORITHMS: dict[str, tuple[Callable[[Shape, Random], Tensors], tuple[str, ...]]] = {
    "lora": (lora, MATRICES),
    "lora-scaled": (lora_scaled, MATRICES),
    "lora-without-alpha": (lora_without_alpha, MATRICES),
    "lora-with-bias": (with_bias(lora), MATRICES),
    "lora-peft-bias": (lora_peft_bias, MATRICES),
    "lora-tucker": (lora_tucker, KERNELS),
    "loha": (loha, MATRICES),
    "loha-tucker": (loha_tucker, KERNELS),
    "lokr-whole": (lokr_whole, MATRICES),
    "lokr-low": (lokr_low, MATRICES),
    "lokr-both": (lokr_both, MATRICES),
    "lokr-tucker": (lokr_tucker, KERNELS),
    "full": (with_bias(full), (*MATRICES, *NORMS)),
    "norm": (norm, NORMS),
    "norm-weight-only": (norm_weight_only, NORMS),
    "dora-lora-output": (dora(lora, 0), MATRICES),
    "dora-lora-input": (dora(lora, 1), MATRICES),
    "dora-lora-peft": (dora_peft, MATRICES),
    "dora-loha-output": (dora(loha, 0), MATRICES),
    "dora-loha-input": (dora(loha, 1), MATRICES),
    "dora-lokr-output": (dora(lokr_low, 0), MATRICES),
    "dora-lokr-input": (dora(lokr_low, 1), MATRICES),
}
PAIRS = [(algorithm, kind) for algorithm, (_, kinds) in ALGORITHMS.items() for kind in kinds]


def alpha() -> Tensor:
    return torch.tensor(ALPHA)


def random(seed: int) -> Random:
    """Return a source of random tensors, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator) * 0.3


def layer(kind: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Module:
    """Return a layer of the kind with random weights."""
    made, r = LAYERS[kind](), random(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(r(*parameter.shape))
    return made.to(dtype).eval()


def tensors(algorithm: str, weight: Tensor, seed: int = 1) -> Tensors:
    """Return a file's tensors of the algorithm for a weight, by suffix."""
    return ALGORITHMS[algorithm][0](tuple(weight.shape), random(seed))


def file(layers: dict[str, Tensors], metadata: dict[str, str] | None = None) -> bytes:
    """Return the bytes of an adapter file: module as the file names it -> its tensors by suffix."""
    named = {
        f"{module}.{suffix}": tensor.clone() for module, group in layers.items() for suffix, tensor in group.items()
    }
    return safetensors.torch.save(named, metadata)


class Model(nn.Module):
    """A small model with every kind of layer in it."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({kind: layer(kind, dtype, seed) for seed, kind in enumerate(LAYERS)})


def adapters(model: Model, count: int) -> Iterator[bytes]:
    """Yield files that among them use every algorithm, each on every layer of the model that it is made for."""
    names = list(ALGORITHMS)
    for seed in range(count):
        layers: dict[str, Tensors] = {}
        for position, (kind, module) in enumerate(model.layers.items()):
            fitting = [name for name in names if kind in ALGORITHMS[name][1]]
            weight = module.get_parameter("weight")
            layers[f"lora_unet_layers_{kind}"] = tensors(
                fitting[(seed + 3 * position) % len(fitting)], weight, 100 + seed
            )
        yield file(layers)
