"""Trains the IP-Adapter (Ye et al. 2023, arXiv:2308.06721): a reference picture becomes four tokens beside the text.

What each cross-attention makes of the tokens is compared with what it makes of the caption of the picture, less what it
makes of a text that names nothing: so every layer learns by itself, and no gradient has to pass the others.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from diffusers.models.embeddings import ImageProjection
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import CLIPVisionModelWithProjection

from workers.training.emoji import captions, drawings
from workers.training.emoji.guided import image_encoder, subjects
from workers.training.emoji.guided.subjects import Subjects
from workers.training.emoji.pipeline import encode, tokenize
from workers.training.emoji.velocity import chance, noised

TOKENS = 4
DROPPED = 0.1
"""How often the reference is left out, which shall add nothing: guidance compares with it."""


class ImagePrompt(nn.Module):
    """The projection from an embedding to tokens, and two matrices for each cross-attention of the UNet."""

    def __init__(self, unet: UNet2DConditionModel, width: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        across = unet.config["cross_attention_dim"]
        self.projection = ImageProjection(width, across, TOKENS)
        names = [name.removesuffix(".processor") for name in unet.attn_processors if "attn2" in name]
        self.layers: tuple[Any, ...] = tuple(unet.get_submodule(name) for name in names)
        # They begin as the text's own matrices, so that the picture's tokens are read as words are.
        self.k, self.v = (nn.ModuleList(_like(getattr(one, f"to_{x}")) for one in self.layers) for x in "kv")

    def file(self) -> dict[str, Tensor]:
        """The tensors as IP-Adapter's own files name them: cross-attentions have the odd numbers."""
        projection = {
            "image_proj.proj.weight": self.projection.image_embeds.weight,
            "image_proj.proj.bias": self.projection.image_embeds.bias,
            "image_proj.norm.weight": self.projection.norm.weight,
            "image_proj.norm.bias": self.projection.norm.bias,
        }
        matrices: dict[str, Any] = {
            f"ip_adapter.{2 * place + 1}.to_{letter}_ip.weight": matrix.weight
            for letter, each in (("k", self.k), ("v", self.v))
            for place, matrix in enumerate(each)
        }
        return projection | matrices


def _like(matrix: nn.Linear) -> nn.Linear:
    made = nn.Linear(matrix.in_features, matrix.out_features, bias=False)
    made.weight.data.copy_(matrix.weight)
    return made


class Objective:
    """The picture's tokens are to do what the caption's do; the base stays, the encoder learns on."""

    def __init__(
        self, prompt: ImagePrompt, encoder: CLIPVisionModelWithProjection, pipe: StableDiffusionPipeline, seen: Subjects
    ) -> None:
        self.prompt, self.encoder, self.pipe, self.seen = prompt.train(), encoder.train(), pipe, seen
        self.alphas = pipe.scheduler.alphas_cumprod.float()

    def loss(self, seed: int, batch: int) -> Tensor:
        """Squared error of what each layer adds, against the square of what it shall add; mean over layers."""
        rng = random.Random(seed)
        pictures, references, said, silent = zip(*(self._example(rng) for _ in range(batch)), strict=True)
        with torch.no_grad():
            caption, nothing = (self._hidden(texts) for texts in (said, silent))
            clean = encode(np.stack(pictures), self.pipe.vae)
            noise, times = chance(clean.shape, len(self.alphas), seed)
            noisy, _ = noised(clean, noise, self.alphas, times)
            with _inputs(self.prompt.layers) as inputs:
                self.pipe.unet(noisy, times, caption, return_dict=False)
        kept = torch.tensor([float(rng.random() >= DROPPED) for _ in references]).view(-1, 1, 1)
        embeds = image_encoder.embed(self.encoder, np.stack(references)) * kept[:, 0]
        tokens = self.prompt.projection(embeds)
        errors = []
        for layer, k, v, given in zip(self.prompt.layers, self.prompt.k, self.prompt.v, inputs, strict=True):
            with torch.no_grad():
                query = layer.to_q(given)
                wanted, already = (
                    _attend(layer.heads, query, layer.to_k(text), layer.to_v(text)) for text in (caption, nothing)
                )
                wanted = (wanted - already) * kept
            added = _attend(layer.heads, query, k(tokens), v(tokens))
            errors.append((added - wanted).square().mean() / wanted.square().mean())
        return torch.stack(errors).mean()

    def _hidden(self, texts: tuple[str, ...]) -> Tensor:
        return self.pipe.text_encoder(tokenize(self.pipe.tokenizer, list(texts)))[0]

    def _example(self, rng: random.Random) -> tuple[np.ndarray, np.ndarray, str, str]:
        subject = rng.choice(self.seen.known)
        name, colour = subjects.ground(rng)
        reference = subject.drawings[0] if rng.random() < 0.7 else subject.drawings[-1]
        if rng.random() < 0.3:
            reference = subjects.moved(reference, rng)
        picture, shown = (
            drawings.lay(drawing, colour).astype(np.float32) for drawing in (subject.drawings[0], reference)
        )
        background = f", {name} background" if name else ""
        return picture, shown, f"{captions.with_article(subject.item.name)}{background}", rng.choice(("", "emoji"))


def _attend(heads: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    q, k, v = (one.unflatten(-1, (heads, -1)).transpose(1, 2) for one in (query, key, value))
    return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)


@contextmanager
def _inputs(layers: tuple[nn.Module, ...]) -> Iterator[list[Tensor]]:
    """What each layer is given while this is open, in the order of the layers."""
    found: dict[nn.Module, Tensor] = {}
    hooks = [layer.register_forward_pre_hook(lambda one, given: found.update({one: given[0]})) for layer in layers]
    inputs: list[Tensor] = []
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()
    inputs += [found[layer] for layer in layers]
