"""Trains the T2I-Adapter (Mou et al. 2023, arXiv:2302.08453): a line map, white on black, says where the edges are."""

import random

import cv2
import numpy as np
import torch
from diffusers.models.adapter import T2IAdapter
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from torch import Tensor
from torch.nn.functional import mse_loss

from workers.training.emoji import drawings
from workers.training.emoji.guided import subjects
from workers.training.emoji.guided.subjects import Subjects
from workers.training.emoji.pipeline import encode, tokenize
from workers.training.emoji.velocity import chance, noised

THRESHOLDS = (100, 200)
"""Canny's low and high threshold that most programs begin with; training varies them."""


def blank(unet: UNet2DConditionModel, seed: int) -> T2IAdapter:
    """The adapter at random: one grey map in, one feature map for each down block of the UNet out.

    What it adds is small at first: it need not unlearn a disturbance of its own making.
    """
    torch.manual_seed(seed)
    channels = list(unet.config["block_out_channels"])
    adapter = T2IAdapter(in_channels=1, channels=channels, num_res_blocks=2, downscale_factor=8)
    for name, weight in adapter.named_parameters():
        if "block2" in name or "conv_in" in name:
            weight.data *= 0.2
    return adapter


def edges(picture: np.ndarray, thresholds: tuple[float, float] = THRESHOLDS) -> np.ndarray:
    """Line map [64, 64], 0 or 1, of a picture [64, 64, 3] in 0..1."""
    grey = cv2.cvtColor(np.rint(picture.clip(0, 1) * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
    return (cv2.Canny(grey, *thresholds) / 255).astype(np.float32)


class Objective:
    """Noise to be told from picture with the picture's edges given: the base stays, the adapter learns."""

    def __init__(self, adapter: T2IAdapter, pipe: StableDiffusionPipeline, seen: Subjects) -> None:
        self.adapter, self.pipe, self.seen = adapter.train(), pipe, seen
        self.alphas = pipe.scheduler.alphas_cumprod.float()

    def loss(self, seed: int, batch: int) -> Tensor:
        """Mean squared error of v; high noise more often, for that is when composition is settled."""
        rng = random.Random(seed)
        examples = [self._example(rng) for _ in range(batch)]
        pictures = np.stack([picture for picture, _, _ in examples])
        maps = torch.from_numpy(np.stack([line for _, line, _ in examples]))[:, None]
        clean = encode(pictures, self.pipe.vae)
        noise, uniform = chance(clean.shape, len(self.alphas), seed)
        times = ((1 - (uniform / len(self.alphas)) ** 3) * (len(self.alphas) - 1)).long()
        noisy, target = noised(clean, noise, self.alphas, times)
        with torch.no_grad():
            hidden = self.pipe.text_encoder(tokenize(self.pipe.tokenizer, [text for _, _, text in examples]))[0]
        features = self.adapter(maps)
        drawn = self.pipe.unet(noisy, times, hidden, down_intrablock_additional_residuals=features, return_dict=False)[
            0
        ]
        return mse_loss(drawn, target)

    def _example(self, rng: random.Random) -> tuple[np.ndarray, np.ndarray, str]:
        subject = self.seen.draw(rng)
        drawing = subject.drawings[0] if rng.random() < 0.85 else subject.drawings[-1]
        name, colour = subjects.ground(rng)
        # Moved more often than not: a thing in its place could be drawn from its name alone.
        placed = subjects.moved(drawing, rng) if rng.random() < 0.6 else drawing
        picture = drawings.lay(placed, colour).astype(np.float32)
        low = rng.uniform(50, 130)
        line = edges(picture, (low, low * rng.uniform(1.5, 2.5)))
        return picture, line, subjects.wording(subject, name, rng, silent=0.25)
