"""Trains the IP-Adapter (Ye et al. 2023, arXiv:2308.06721): a reference picture becomes four tokens beside the text."""

import random
from typing import Any

import numpy as np
import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import ImageProjection, MultiIPAdapterImageProjection
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from transformers import CLIPVisionModelWithProjection

from workers.training.emoji import drawings
from workers.training.emoji.guided import image_encoder, subjects
from workers.training.emoji.guided.subjects import Subjects
from workers.training.pipeline import encode, tokenize
from workers.training.velocity import chance, noised

TOKENS = 4
DROPPED = 0.1
"""How often the reference is left out, so that guidance has something to compare with."""


class ImagePrompt(nn.Module):
    """The projection and the two matrices of each cross-attention, put onto the UNet."""

    def __init__(self, unet: UNet2DConditionModel, width: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        across = unet.config["cross_attention_dim"]
        self.projection = ImageProjection(width, across, TOKENS)
        present: Any = dict(unet.attn_processors)
        self.names = [name for name in present if name.endswith("attn2.processor")]
        self.matrices = nn.ModuleList([_matrices(unet, name, across) for name in self.names])
        unet.encoder_hid_proj = None
        unet.set_attn_processor(present | dict(zip(self.names, self.matrices, strict=True)))
        tokens: Any = MultiIPAdapterImageProjection([self.projection])  # which the attribute's annotation forgets
        unet.encoder_hid_proj = tokens
        unet.register_to_config(encoder_hid_dim_type="ip_image_proj")

    def file(self) -> dict[str, Tensor]:
        """The tensors as IP-Adapter's own files name them: cross-attentions have the odd numbers."""
        projection = {
            "image_proj.proj.weight": self.projection.image_embeds.weight,
            "image_proj.proj.bias": self.projection.image_embeds.bias,
            "image_proj.norm.weight": self.projection.norm.weight,
            "image_proj.norm.bias": self.projection.norm.bias,
        }
        matrices = {
            f"ip_adapter.{2 * place + 1}.to_{letter}_ip.weight": getattr(pair, f"to_{letter}_ip")[0].weight
            for place, pair in enumerate(self.matrices)
            for letter in "kv"
        }
        return projection | matrices


def _matrices(unet: UNet2DConditionModel, name: str, across: int) -> IPAdapterAttnProcessor2_0:
    # They begin as the text's own matrices, so that the picture's tokens are read as words are.
    attention: Any = unet.get_submodule(name.removesuffix(".processor"))
    made = IPAdapterAttnProcessor2_0(attention.to_k.out_features, across, num_tokens=(TOKENS,), scale=1.0)
    for letter in "kv":
        getattr(made, f"to_{letter}_ip")[0].weight.data.copy_(getattr(attention, f"to_{letter}").weight)
    return made


class Objective:
    """Noise to be told from picture with a view of the same drawing given: the base stays, the encoder learns on."""

    def __init__(
        self, prompt: ImagePrompt, encoder: CLIPVisionModelWithProjection, pipe: StableDiffusionPipeline, seen: Subjects
    ) -> None:
        self.prompt, self.encoder, self.pipe, self.seen = prompt.train(), encoder.train(), pipe, seen
        self.alphas = pipe.scheduler.alphas_cumprod.float()

    def loss(self, seed: int, batch: int) -> Tensor:
        """Mean squared error of v, timesteps uniform."""
        rng = random.Random(seed)
        examples = [self._example(rng) for _ in range(batch)]
        clean = encode(np.stack([picture for picture, _, _ in examples]), self.pipe.vae)
        embeds = image_encoder.embed(self.encoder, np.stack([reference for _, reference, _ in examples]))
        embeds = embeds * torch.tensor([float(rng.random() >= DROPPED) for _ in examples])[:, None]
        noise, times = chance(clean.shape, len(self.alphas), seed)
        noisy, target = noised(clean, noise, self.alphas, times)
        with torch.no_grad():
            hidden = self.pipe.text_encoder(tokenize(self.pipe.tokenizer, [text for _, _, text in examples]))[0]
        given = {"image_embeds": [embeds[:, None]]}
        drawn = self.pipe.unet(noisy, times, hidden, added_cond_kwargs=given, return_dict=False)[0]
        return mse_loss(drawn, target)

    def _example(self, rng: random.Random) -> tuple[np.ndarray, np.ndarray, str]:
        subject = self.seen.draw(rng)
        drawing = subject.drawings[0] if rng.random() < 0.7 else subject.drawings[-1]
        name, colour = subjects.ground(rng)
        target = subjects.moved(drawing, rng) if rng.random() < 0.2 else drawing
        reference = subjects.moved(drawing, rng) if rng.random() < 0.3 else target
        picture, shown = (drawings.lay(placed, colour).astype(np.float32) for placed in (target, reference))
        return picture, shown, subjects.wording(subject, name, rng, silent=0.5)
