"""How much memory a step of a training computes with: estimated by the base's layers, for nothing is loaded here.

Each layer is counted with its input and its output at every position, once: for a block of a transformer that is about
what its backward pass needs (34 bytes by position and channel in 16 bits, arXiv:2205.05198, section 4.1). Checkpointing
keeps what each block is given, and what one block computes with. Against what torch keeps of Stable Diffusion 1.5, SD 3
and FLUX.1 at their own sizes it is 1.41, 0.86 and 0.80 of that, with checkpointing 0.82, 0.88 and 0.90 (the modules of
diffusers 0.40 on fake tensors, attention that saves no matrix, 2026-11-27).
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from math import prod

from app.shared.facts import BaseLayer
from app.shared.wire.adapter import denoises
from app.shared.wire.model import ModelProfile

FLOAT = 4  # bytes of a number in float32, and 2 in the others
SMALL = 64 << 20  # bytes of changed weights that checkpointing keeps (`lycoris.recompute`), and of a denoiser it spares
LATENT = 8  # pixels along an edge, where a base does not say
TEXT = 77  # tokens, where it does not
ONCE = re.compile(
    r"norm|time_emb|time_text|modulation|adaLN|timestep"
)  # linear layers that see a picture, not its parts
OF_TEXT = re.compile(r"context|add_[qkv]|to_add_out")
LEVEL = re.compile(r"(down|up)_blocks\.(\d+)\.")
BLOCK = re.compile(r"(?:[a-z_]+\.\d+\.?){1,2}")


def activation_bytes(
    layers: Sequence[BaseLayer],
    trained: Collection[str],
    profile: ModelProfile,
    latent: int | None,
    pixels: int,
    pictures: int,
    checkpointing: bool,
) -> int:
    """Return about how many bytes a step needs besides weights and what is trained.

    layers: all of the base. trained: names (`unet.…`) of those that are. latent: pixels along an edge of one. pixels:
    of a picture. pictures: of a forward.
    """
    number = FLOAT if profile.dtype == "float32" else FLOAT // 2
    text_is_trained = any(not denoises(name.partition(".")[0]) for name in trained)
    read = [one for one in layers if denoises(one.component) or text_is_trained]
    tokens = max(profile.tokens.values(), default=TEXT)
    seen = _Positions([one.path for one in read if denoises(one.component)], profile, latent or LATENT, pixels, tokens)
    blocks: dict[str, float] = defaultdict(float)  # what the layers of each compute with
    given: dict[tuple[str, float], float] = {}  # a block, at so many positions -> what it is given of them
    for one in read:
        here = seen.of(one) if denoises(one.component) else float(tokens)
        inside, outside = (one.shape[0],) * 2 if one.kind == "norm" else (one.shape[1], one.shape[0])
        match = BLOCK.match(one.path)
        block = f"{one.component}.{match[0] if match else ''}"
        blocks[block] += (inside + outside) * here
        if one.kind != "norm" and here > 1.0:  # a norm may be of a head, and what is seen once is no part of a picture
            given.setdefault((block, here), inside * here)
    whole = sum(blocks.values())
    made = [prod(one.shape) for one in layers if f"{one.component}.{one.path}" in trained]
    changed = sum(made) * number
    large = sum(prod(one.shape) for one in read) * FLOAT > SMALL
    if checkpointing and large:
        whole = sum(given.values()) + max(blocks.values(), default=0.0)
    if checkpointing:
        changed = min(changed, SMALL)
    return int(whole * number * pictures + changed + 2 * FLOAT * max(made, default=0))


class _Positions:
    """At how many positions of a picture each layer of a denoiser is computed."""

    def __init__(self, paths: Iterable[str], profile: ModelProfile, latent: int, pixels: int, tokens: int) -> None:
        self._levels = len({match[2] for path in paths if (match := LEVEL.match(path)) and match[1] == "down"})
        self._latents = pixels / latent**2
        self._patches = pixels / profile.size_multiple**2
        self._tokens = tokens

    def of(self, layer: BaseLayer) -> float:
        """Return how many."""
        if layer.kind == "linear" and ONCE.search(layer.path):
            return 1.0
        if self._levels:  # a UNet: each level has half of the edge of the one before
            return self._latents / 4 ** self._level(layer.path)
        if OF_TEXT.search(layer.path):
            return float(self._tokens)
        return self._patches + (self._tokens if "single" in layer.path else 0)

    def _level(self, path: str) -> int:
        if match := LEVEL.match(path):
            return int(match[2]) if match[1] == "down" else self._levels - 1 - int(match[2])
        return self._levels - 1 if path.startswith("mid") else 0
