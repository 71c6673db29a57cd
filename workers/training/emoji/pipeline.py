"""The parts of a Stable Diffusion pipeline that training calls one by one: latents of pictures, tokens of texts."""

from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from torch import Tensor
from transformers import CLIPTokenizer


def warm(folder: Path) -> StableDiffusionPipeline:
    """The parts of a diffusers folder, in float32."""
    return StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Token ids [batch, 24], padded and cut as the pipeline does."""
    length = tokenizer.model_max_length
    return tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids


def encode(pictures: np.ndarray, vae: AutoencoderTiny) -> Tensor:
    """Pictures [batch, 64, 64, 3] in 0..1 -> latents [batch, 24, 8, 8], scaled as the UNet sees them."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() * 2 - 1
    with torch.no_grad():
        return vae.encode(pixels, return_dict=False)[0] * vae.config["scaling_factor"]
