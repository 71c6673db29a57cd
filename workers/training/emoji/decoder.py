"""Trains the codec's decoder on drawings of two vendors; latents stay as they are."""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from workers.training.emoji import drawings
from workers.training.emoji.loop import LoopPlan


@dataclass(frozen=True, kw_only=True)
class DecoderPlan(LoopPlan):
    """How the decoder is trained."""

    batch: int = 16
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.0
    constant: float = 1 / 3
    floor: float = 0.01
    noise: float = 0.02
    save_every: int = 500


class Decoding:
    """What the decoder is taught: `main` drawings make up three quarters of what is seen, `others` the rest.

    The main ones are what the base model will ask the decoder for, always in place; a shifted or mirrored copy
    teaches it other patches.
    """

    def __init__(
        self, vae: AutoencoderTiny, main: list[np.ndarray], others: list[np.ndarray], plan: DecoderPlan
    ) -> None:
        self.vae, self.main, self.others, self.plan = vae, main, others, plan
        vae.decoder.train()

    def loss(self, step: int) -> Tensor:
        """The loss on the batch of this step, a function of seed and step alone."""
        rng = np.random.default_rng([self.plan.seed, step])
        pixels = torch.from_numpy(np.stack([self._picture(rng) for _ in range(self.plan.batch)]))
        return self._loss(pixels.permute(0, 3, 1, 2), rng)  # channels last in memory: a sixth faster

    def _loss(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        """L1 + 4·MSE + 0.5·L1 of the gradients, pictures in 0..1."""
        with torch.no_grad():
            latents = self.vae.encode(pixels * 2 - 1, return_dict=False)[0]
            latents += self.plan.noise * torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32))
        drawn = (self.vae.decode(latents, return_dict=False)[0] + 1) / 2
        edges = l1_loss(drawn.diff(dim=2), pixels.diff(dim=2)) + l1_loss(drawn.diff(dim=3), pixels.diff(dim=3))
        return l1_loss(drawn, pixels) + 4 * mse_loss(drawn, pixels) + 0.5 * edges

    def _picture(self, rng: np.random.Generator) -> np.ndarray:
        source = self.main if not self.others or rng.random() < 0.75 else self.others
        drawing = source[rng.integers(len(source))]
        in_place = source is self.main and rng.random() < 0.6
        if not in_place:
            drawing = drawing[:, ::-1] if rng.random() < 0.5 else drawing
            drawing = np.roll(drawing, tuple(rng.integers(-4, 5, 2)), axis=(0, 1))
        ground = (1.0, 1.0, 1.0)
        if rng.random() < 0.35:
            ground = list(drawings.BACKGROUNDS.values())[rng.integers(8)]
            ground = ground if in_place else tuple(rng.random(3))
        return drawings.lay(drawing, ground).astype(np.float32)
