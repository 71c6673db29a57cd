"""The base model's training set: the latents of every item on every background, and the captions that go with them."""

import random
from dataclasses import dataclass

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor
from transformers import CLIPTokenizer

from workers.training.emoji import captions, drawings
from workers.training.emoji.items import Item
from workers.training.emoji.pipeline import encode, tokenize

BACKGROUND_SHARE = 0.2
EMPTY_SHARE = 0.1
GROUNDS: tuple[str | None, ...] = (None, *drawings.BACKGROUNDS)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Latents [batch, 24, 8, 8], scaled as the UNet sees them, and token ids [batch, 24]."""

    latents: Tensor
    tokens: Tensor


@dataclass(frozen=True, kw_only=True)
class LatentSet:
    """Latents of every trained item on white and the eight backgrounds, with how often each item is drawn."""

    items: tuple[Item, ...]
    latents: Tensor  # [items, 9, 24, 8, 8]
    weights: Tensor  # [items]
    tokenizer: CLIPTokenizer

    def batch(self, size: int, seed: int) -> Batch:
        """One batch, a function of the seed alone: a resumed run sees what an uninterrupted one would."""
        generator = torch.Generator().manual_seed(seed)
        rng = random.Random(seed)
        chosen = torch.multinomial(self.weights, size, replacement=True, generator=generator).tolist()
        grounds = [rng.randrange(1, len(GROUNDS)) if rng.random() < BACKGROUND_SHARE else 0 for _ in chosen]
        texts = [
            "" if rng.random() < EMPTY_SHARE else captions.caption(self.items[item], GROUNDS[ground], rng)
            for item, ground in zip(chosen, grounds, strict=True)
        ]
        return Batch(latents=self.latents[chosen, grounds], tokens=tokenize(self.tokenizer, texts))


def build(
    items: list[Item],
    pictures: dict[str, np.ndarray],
    vae: AutoencoderTiny,
    tokenizer: CLIPTokenizer,
    seen: frozenset[str] = frozenset(),
) -> LatentSet:
    """Encode every item that is not held out.

    `seen` names the items that a warm start has seen already: they are drawn a third as often as the rest.
    """
    kept = tuple(item for item in items if not item.held_out)
    return LatentSet(
        items=kept,
        latents=torch.stack([_encode_on_grounds(pictures[item.name], vae) for item in kept]),
        weights=torch.tensor([_weight(item, item.name in seen) for item in kept]),
        tokenizer=tokenizer,
    )


def _encode_on_grounds(drawing: np.ndarray, vae: AutoencoderTiny) -> Tensor:
    whites = [(1.0, 1.0, 1.0), *drawings.BACKGROUNDS.values()]
    return encode(np.stack([drawings.lay(drawing, ground) for ground in whites]), vae)


def _weight(item: Item, seen: bool) -> float:
    # Tones and recolours share their shape with six others, so that single drawings must come up more often
    # to be drawn as crisply.
    single = 1.0 if item.kind == "core" else 0.25
    return single * (0.35 if seen else 1.0)
