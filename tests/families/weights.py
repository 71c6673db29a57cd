"""Random weights that heed what is read: an untrained network as it is made gives nearly the same for any text."""

from typing import Any

import torch
from torch import nn

# What is normalised before attention; at 1 each place looks at all others alike, and a few words among much padding
# move nothing
QUERIES_AND_KEYS = tuple(f"norm_{one}.weight" for one in ("q", "k", "added_q", "added_k"))
SHARP = 2.0


def fill(pipeline: Any, seed: int = 0, gain: float = 1.0) -> Any:
    """Draw all weights of a pipeline anew and return it.

    Each output of a layer then has about the spread of its input, so that the text reaches the picture through any
    depth; what a class leaves empty or begins with zero is drawn as well.
    """
    for at, (_, part) in enumerate(sorted(pipeline.components.items())):
        if isinstance(part, nn.Module):
            generator = torch.Generator().manual_seed(1000 * seed + at)
            for name, parameter in part.named_parameters():
                _draw(name, parameter, generator, gain)
            part.eval()
    return pipeline


@torch.no_grad()
def _draw(name: str, parameter: torch.Tensor, generator: torch.Generator, gain: float) -> None:
    noise = torch.randn(parameter.shape, generator=generator)
    if parameter.ndim < 2 and name.endswith("weight"):
        parameter.copy_((SHARP if name.endswith(QUERIES_AND_KEYS) else 1) + 0.1 * noise)
    elif parameter.ndim < 2:
        parameter.copy_(0.1 * noise)
    elif "embed" in name and name.endswith(("token_embedding.weight", "embed_tokens.weight", "shared.weight")):
        parameter.copy_(noise)
    else:
        parameter.copy_(gain * noise / parameter[0].numel() ** 0.5)
