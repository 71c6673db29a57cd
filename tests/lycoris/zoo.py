"""Every kind of layer and, for each algorithm, a file's tensors for it: the subjects of all laws.

A new algorithm is one entry in ALGORITHMS and one closed form in `closed_forms.py`.
"""

from collections import Counter
from collections.abc import Callable, Iterator

import safetensors.torch
import torch
from torch import Tensor, nn

from lycoris.algorithms.change import SCALARS, SETTINGS
from tests.lycoris import builders_family as family
from tests.lycoris import builders_peft as peft
from tests.lycoris.builders import (
    ALPHA,
    RANK,
    Build,
    Random,
    Shape,
    Tensors,
    dora,
    dora_peft,
    full,
    loha,
    loha_tucker,
    lokr_both,
    lokr_low,
    lokr_tucker,
    lokr_whole,
    lora,
    lora_peft_bias,
    lora_scaled,
    lora_tucker,
    lora_without_alpha,
    norm,
    norm_weight_only,
    with_bias,
)

__all__ = ["ALPHA", "RANK", "SCALARS", "SETTINGS", "Shape", "Tensors"]
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(12, 8),
    "square": lambda: nn.Linear(8, 8),
    "conv3x3": lambda: nn.Conv2d(4, 8, 3, padding=1),
    "conv1x1": lambda: nn.Conv2d(4, 8, 1),
    "grouped": lambda: nn.Conv2d(8, 12, 3, padding=1, groups=2),
    "strided": lambda: nn.Conv2d(4, 8, 3, stride=2, padding=1),
    "embedding": lambda: nn.Embedding(12, 8),
    "layernorm": lambda: nn.LayerNorm(8),
    "groupnorm": lambda: nn.GroupNorm(2, 8),
}
MATRICES = ("linear", "square", "conv3x3", "conv1x1", "grouped", "strided")
KERNELS = ("conv3x3", "grouped", "strided")
NORMS = ("layernorm", "groupnorm")
TABLES = ("embedding",)

POINTS = ("linear", "square", "conv1x1")  # a matrix, however it is stored
ALGORITHMS: dict[str, tuple[Build, tuple[str, ...]]] = {
    "lora": (lora, (*MATRICES, *TABLES)),
    "lora-scaled": (lora_scaled, MATRICES),
    "lora-without-alpha": (lora_without_alpha, MATRICES),
    "lora-with-bias": (with_bias(lora), MATRICES),
    "lora-peft-bias": (lora_peft_bias, MATRICES),
    "lora-tucker": (lora_tucker, KERNELS),
    "loha": (loha, (*MATRICES, *TABLES)),
    "loha-tucker": (loha_tucker, KERNELS),
    "lokr-whole": (lokr_whole, MATRICES),
    "lokr-low": (lokr_low, (*MATRICES, *TABLES)),
    "lokr-both": (lokr_both, MATRICES),
    "lokr-tucker": (lokr_tucker, KERNELS),
    "full": (with_bias(full), (*MATRICES, *NORMS)),
    "norm": (norm, NORMS),
    "norm-weight-only": (norm_weight_only, NORMS),
    "dora-lora-output": (dora(lora, 0), MATRICES),
    "dora-lora-input": (dora(lora, 1), (*MATRICES, *TABLES)),
    "dora-lora-peft": (dora_peft, MATRICES),
    "dora-loha-output": (dora(loha, 0), MATRICES),
    "dora-loha-input": (dora(loha, 1), MATRICES),
    "dora-lokr-output": (dora(lokr_low, 0), MATRICES),
    "dora-lokr-input": (dora(lokr_low, 1), MATRICES),
    "lora-sparse": (family.lora_sparse, MATRICES),
    "overwrite": (family.overwrite, (*MATRICES, *NORMS)),
    "ia3-output": (family.ia3(0), MATRICES),
    "ia3-input": (family.ia3(1), MATRICES),
    "glora": (family.glora, MATRICES),
    "glora-old": (family.glora_old, MATRICES),
    "oft": (family.oft(0.0), MATRICES),
    "oft-constrained": (family.oft(0.05), MATRICES),
    "oft-rescaled": (family.rescaled(family.oft(0.0)), MATRICES),
    "oft-split": (family.oft_split, MATRICES),
    "oft-old": (family.oft_old, MATRICES),
    "boft": (family.boft(2, 0.0), MATRICES),
    "boft-rescaled": (family.rescaled(family.boft(3, 0.02)), ("linear", "square", "conv3x3", "conv1x1", "strided")),
    "hira": (family.hira, (*MATRICES, *TABLES)),
    "hira-with-alpha": (family.hira_with_alpha, MATRICES),
    "tlora": (family.tlora, POINTS),
    "peft-lokr": (peft.lokr_whole, MATRICES),
    "peft-adalora": (peft.adalora, MATRICES),
    "peft-ia3-output": (peft.ia3(0), MATRICES),
    "peft-ia3-input": (peft.ia3(1), MATRICES),
    "peft-ia3-feedforward": (peft.ia3_feedforward, MATRICES),
    "peft-glora": (peft.glora, MATRICES),
    "peft-glora-columns": (peft.glora_columns, MATRICES),
    "peft-glora-with-weight": (peft.glora_with_weight, MATRICES),
    "peft-oft": (peft.oft(0), POINTS),
    "peft-oft-neumann": (peft.oft(5), POINTS),
    "peft-oft-shared": (peft.oft_shared, POINTS),
    "peft-boft": (peft.boft(1), MATRICES),
    "peft-boft-butterfly": (peft.boft(2), MATRICES),
    "peft-hra": (peft.hra(0), MATRICES),
    "peft-hra-schmidt": (peft.hra(1), MATRICES),
    "peft-vera": (peft.vera, POINTS),
    "peft-fourierft": (peft.fourierft, POINTS),
    "peft-c3a": (peft.c3a, POINTS),
}
NOT_LINEAR = ("oft-rescaled", "boft", "boft-rescaled")  # in the strength
NOT_LEARNED = SCALARS | SETTINGS | {"on_input", "bias_indices", "bias_size"}  # not changed by training
PAIRS = [(algorithm, kind) for algorithm, (_, kinds) in ALGORITHMS.items() for kind in kinds]


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
    """Yield files that among them use every algorithm once before any twice, on the layers that it is made for."""
    used: Counter[str] = Counter()
    for seed in range(count):
        layers: dict[str, Tensors] = {}
        for kind, module in model.layers.items():
            fitting = [name for name, (_, kinds) in ALGORITHMS.items() if kind in kinds]
            chosen = min(fitting, key=lambda name: used[name])
            used[chosen] += 1
            layers[f"lora_unet_layers_{kind}"] = tensors(chosen, module.get_parameter("weight"), 100 + seed)
        yield file(layers)
