"""Trains the small image encoder: a CLIPVisionModelWithProjection whose embedding says what is shown, and how.

Two views of a thing shall be near to its caption and to each other and far from all else (Radford et al. 2021,
arXiv:2103.00020; Chen et al. 2020, arXiv:2002.05709), and a linear map of the embedding shall give the picture in
16×16 pixels: without the latter, where things are and which shade they have would be forgotten.
"""

import random
from pathlib import Path

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, mse_loss, normalize
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from workers.training.emoji import drawings
from workers.training.emoji.guided import subjects
from workers.training.emoji.guided.subjects import Subject, Subjects
from workers.training.emoji.pipeline import tokenize

WIDTH = 160
EMBEDDING = 128
TEMPERATURE = 0.07
THUMBNAIL = 16
THUMBNAIL_WEIGHT = 20.0


def blank(seed: int) -> CLIPVisionModelWithProjection:
    """The encoder at random: four layers of width 160 over 16×16 patches of a 64×64 picture, 1.4 M parameters."""
    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=4,
        num_attention_heads=5,
        image_size=drawings.SIZE,
        patch_size=16,
        projection_dim=EMBEDDING,
    )
    return CLIPVisionModelWithProjection(config)


def processor() -> CLIPImageProcessorPil:
    """How a picture becomes the encoder's pixels; what diffusers makes of `image_size` alone is the same."""
    return CLIPImageProcessorPil(size={"shortest_edge": drawings.SIZE}, crop_size=drawings.SIZE)


def pixels(pictures: np.ndarray) -> Tensor:
    """Pictures [batch, 64, 64, 3] in 0..1 as the encoder sees them, [batch, 3, 64, 64]."""
    mean, deviation = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in (_MEAN, _DEVIATION))
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - mean) / deviation


class Objective(nn.Module):
    """The encoder with what is needed to train it only: the text's linear map, the thumbnail's, the temperature."""

    def __init__(self, encoder: CLIPVisionModelWithProjection, pipe: StableDiffusionPipeline, seen: Subjects) -> None:
        super().__init__()
        self.encoder = encoder.train()
        self.text = nn.Linear(pipe.text_encoder.config.hidden_size, EMBEDDING, bias=False)
        self.thumbnail = nn.Linear(EMBEDDING, 3 * THUMBNAIL**2)
        self.sharpness = nn.Parameter(torch.tensor(1 / TEMPERATURE).log())
        self._pipe, self._seen = (pipe,), seen  # a tuple: the base is no part of this module

    def loss(self, seed: int, batch: int) -> Tensor:
        """Contrast between two views of `batch` things and their captions, and the error of the thumbnails."""
        rng = random.Random(seed)
        chosen = rng.sample((*self._seen.known, *self._seen.unknown), batch)
        grounds = [subjects.ground(rng) for _ in chosen]
        views = [np.stack([_view(s, g[1], rng) for s, g in zip(chosen, grounds, strict=True)]) for _ in range(2)]
        texts = [subjects.wording(s, g[0], rng, silent=0.0) for s, g in zip(chosen, grounds, strict=True)]
        shown = np.concatenate(views)
        embeds = self.encoder(pixel_values=pixels(shown)).image_embeds
        one, other = normalize(embeds, dim=-1).chunk(2)
        said = normalize(self.text(self._pooled(texts)), dim=-1)
        sharpness = self.sharpness.clamp(max=4.6).exp()
        apart = sum(_contrast(sharpness * a @ b.T) for a, b in ((one, said), (other, said), (one, other))) / 3
        small = avg_pool2d(torch.from_numpy(shown).permute(0, 3, 1, 2), drawings.SIZE // THUMBNAIL)
        return apart + THUMBNAIL_WEIGHT * mse_loss(self.thumbnail(embeds), small.flatten(1))

    @torch.no_grad()
    def _pooled(self, texts: list[str]) -> Tensor:
        (pipe,) = self._pipe
        return pipe.text_encoder(tokenize(pipe.tokenizer, texts)).pooler_output


def _view(subject: Subject, ground: tuple[float, float, float], rng: random.Random) -> np.ndarray:
    drawing = rng.choice(subject.drawings)
    return drawings.lay(subjects.moved(drawing, rng) if rng.random() < 0.5 else drawing, ground).astype(np.float32)


def _contrast(logits: Tensor) -> Tensor:
    right = torch.arange(len(logits))
    return (cross_entropy(logits, right) + cross_entropy(logits.T, right)) / 2


def embed(encoder: CLIPVisionModelWithProjection, pictures: np.ndarray) -> Tensor:
    """Embeddings [batch, 128] of pictures [batch, 64, 64, 3] in 0..1."""
    return encoder(pixel_values=pixels(pictures)).image_embeds


def write(encoder: CLIPVisionModelWithProjection, folder: Path) -> None:
    """Write the encoder in float16 with its processor's settings, as transformers reads them."""
    encoder.half().save_pretrained(folder)
    encoder.float()
    processor().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)


_MEAN, _DEVIATION = processor().image_mean, processor().image_std
