"""What a control net reads of a picture: its pixels, or its latents, as diffusers' own pipelines prepare them.

Where latents are drawn from a distribution, the numbers are those of the picture's seed from a generator of its own:
so the latents that a picture begins with are the same with and without control.
"""

from typing import Any

import torch
from diffusers.models.adapter import T2IAdapter
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.controlnet_flux import FluxControlNetModel
from diffusers.models.controlnets.controlnet_sd3 import SD3ControlNetModel
from diffusers.models.controlnets.controlnet_union import ControlNetUnionModel
from diffusers.models.controlnets.controlnet_z_image import ZImageControlNetModel
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from PIL.Image import Image as Picture
from torch import Tensor

from workers.models.pixels import planes_of

GREY = "L"


class Condition:
    """One picture as one net, or a denoiser, reads it, for as many rows as the denoiser is called with."""

    def __init__(self, pipeline: Any, net: Any, picture: Picture, seed: int) -> None:
        """picture: of the drawing's size."""
        self._pipeline = pipeline
        self._net, self._settings = net, net.config
        self._picture = picture
        self._seed = seed
        self._by_rows: dict[int, Any] = {}

    def rows(self, count: int) -> Any:
        """Return what the net is given, for so many rows."""
        if count not in self._by_rows:
            self._by_rows[count] = self._read(count)
        return self._by_rows[count]

    def _read(self, count: int) -> Any:
        match self._net:
            case T2IAdapter():  # whose features do not depend on the step
                features = self._net(self._pixels(1, self._settings.in_channels))
                return [feature.repeat(count, 1, 1, 1) for feature in features]
            case ControlNetModel() | ControlNetUnionModel():
                return self._pixels(count)
            case FluxControlNetModel() if self._net.input_hint_block is not None:
                return self._pixels(count) * 2 - 1
            case FluxControlNetModel() | FluxTransformer2DModel():  # the second for a control LoRA
                latents = self._latents(count, self._generator())
                config = self._pipeline.vae.config
                return self._packed((latents - config.shift_factor) * config.scaling_factor)
            case ZImageControlNetModel():
                config = self._pipeline.vae.config
                latents = (self._distribution(count).mode() - config.shift_factor) * config.scaling_factor
                blank = latents.new_zeros(count, self._settings.control_in_dim - latents.shape[1], *latents.shape[2:])
                read = torch.cat([latents, blank], dim=1).unsqueeze(2)  # a film of one picture, nothing painted over
                return list(read.to(device=self._net.device, dtype=self._net.dtype))
            case SD3ControlNetModel():
                config = self._pipeline.vae.config
                shift = 0 if self._settings.force_zeros_for_pooled_projection else config.shift_factor
                return (self._latents(count, self._generator()) - shift) * config.scaling_factor
            case _:  # Qwen-Image, whose codec is of films
                latents = self._latents(count, self._generator(), frame=True)
                config = self._pipeline.vae.config
                mean, std = (
                    torch.tensor(numbers).view(1, -1, 1, 1, 1).to(latents)
                    for numbers in (config.latents_mean, config.latents_std)
                )
                return self._packed(((latents - mean) * (1.0 / std)).permute(0, 2, 1, 3, 4)[:, 0])

    def _pixels(self, count: int, colours: int = 3) -> Tensor:
        """Return values from 0 to 1 [rows, colours, height, width]."""
        picture = self._picture.convert(GREY) if colours == 1 else self._picture
        pixels = planes_of(picture).float() / 255
        return pixels.to(device=self._net.device, dtype=self._net.dtype).repeat(count, 1, 1, 1)

    def _latents(self, count: int, generator: torch.Generator, frame: bool = False) -> Tensor:
        return self._distribution(count, frame).sample(generator)

    def _distribution(self, count: int, frame: bool = False) -> Any:
        codec = self._pipeline.vae
        pixels = (self._pixels(count).float() * 2 - 1).to(device=codec.device, dtype=codec.dtype)
        return codec.encode(pixels.unsqueeze(2) if frame else pixels).latent_dist

    def _packed(self, latents: Tensor) -> Tensor:
        """Return latents [rows, channels, height, width] as a transformer has them, by two in each direction."""
        rows, channels, height, width = latents.shape
        packed = self._pipeline._pack_latents(latents, rows, channels, height, width)
        return packed.to(device=self._net.device, dtype=self._net.dtype)

    def _generator(self) -> torch.Generator:
        return torch.Generator("cpu").manual_seed(self._seed)
