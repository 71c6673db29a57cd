"""Untrained factors of each algorithm for a weight of a given shape, and which weights each recipe reaches."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lycoris.algorithms.change import Change
from lycoris.algorithms.loha import LoHa
from lycoris.algorithms.lokr import LoKr
from lycoris.algorithms.lora import LoRA

ATTENTION = re.compile(r"\.attn\d\.to_(q|k|v|out\.0)$")
BLOCKS = re.compile(r"^(down_blocks|mid_block|up_blocks)\.")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to make an adapter: which modules it reaches, at what rank, and how its factors begin."""

    reaches: re.Pattern[str]
    rank: int
    conv_rank: int
    make: Callable[[tuple[int, ...], int, torch.Generator], Change]  # (weight's shape, rank, generator)
    module: str  # what `ss_network_module` says
    arguments: dict[str, str]  # what `ss_network_args` says


def targets(unet: nn.Module, recipe: Recipe) -> dict[str, tuple[int, ...]]:
    """Module path -> shape of its weight, of every linear layer and convolution that the recipe reaches."""
    return {
        path: tuple(module.weight.shape)
        for path, module in unet.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and recipe.reaches.search(path)
    }


def begin(unet: nn.Module, recipe: Recipe, seed: int) -> dict[str, Change]:
    """Module path -> a change that is zero as long as it is untrained, its factors ready to be trained."""
    generator = torch.Generator().manual_seed(seed)
    changes = {}
    for path, shape in targets(unet, recipe).items():
        rank = recipe.conv_rank if math.prod(shape[2:]) > 1 else recipe.rank
        change = recipe.make(shape, rank, generator)
        for suffix, tensor in change.tensors().items():
            tensor.requires_grad_(suffix != "alpha")
        changes[path] = change
    return changes


def _lora(shape: tuple[int, ...], rank: int, generator: torch.Generator) -> LoRA:
    out, *rest = shape
    ones = (1,) * (len(shape) - 2)
    return LoRA(
        lora_up=torch.zeros(out, rank, *ones),
        lora_down=_uniform((rank, *rest), generator),
        alpha=torch.tensor(float(rank)),
    )


def _loha(shape: tuple[int, ...], rank: int, generator: torch.Generator) -> LoHa:
    # LyCORIS's own beginning: w1 like noise, one half of w2 zero.
    out, into, *kernel = shape
    cored = math.prod(kernel) > 1
    a, b = ((rank, out), (rank, into)) if cored else ((out, rank), (rank, into))
    core = (rank, rank, *kernel)
    return LoHa(
        hada_w1_a=0.1 * torch.randn(a, generator=generator),
        hada_w1_b=torch.randn(b, generator=generator),
        hada_w2_a=torch.zeros(a),
        hada_w2_b=torch.randn(b, generator=generator),
        hada_t1=0.1 * torch.randn(core, generator=generator) if cored else None,
        hada_t2=0.1 * torch.randn(core, generator=generator) if cored else None,
        alpha=torch.tensor(float(rank)),
    )


def _lokr(shape: tuple[int, ...], rank: int, generator: torch.Generator) -> LoKr:
    # Both factors whole: w1 8×4, w2 the rest. Every side of this UNet is a multiple of 32.
    out, into, *kernel = shape
    return LoKr(
        lokr_w1=_uniform((8, 4), generator),
        lokr_w2=torch.zeros(out // 8, into // 4, *kernel),
        alpha=torch.tensor(float(rank)),
    )


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform in ±1/√fan_in: what nn.Linear and nn.Conv2d begin with."""
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    return (torch.rand(shape, generator=generator) * 2 - 1) * bound


RECIPES = {
    "lora": Recipe(reaches=ATTENTION, rank=16, conv_rank=16, make=_lora, module="networks.lora", arguments={}),
    "locon": Recipe(
        reaches=BLOCKS,
        rank=4,
        conv_rank=3,
        make=_lora,
        module="lycoris.kohya",
        arguments={"algo": "locon", "conv_dim": "3", "conv_alpha": "3", "preset": "full"},
    ),
    "loha": Recipe(
        reaches=BLOCKS,
        rank=2,
        conv_rank=6,
        make=_loha,
        module="lycoris.kohya",
        arguments={"algo": "loha", "conv_dim": "6", "conv_alpha": "6", "use_tucker": "True", "preset": "full"},
    ),
    "lokr": Recipe(
        reaches=BLOCKS,
        rank=1,
        conv_rank=1,
        make=_lokr,
        module="lycoris.kohya",
        arguments={"algo": "lokr", "factor": "8x4", "full_matrix": "True", "preset": "full"},
    ),
}
"""Four recipes of about equal size on the bundled UNet: 258,048, 261,792, 249,360 and 264,736 numbers."""
