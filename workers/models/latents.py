"""From pictures to the latents that a pipeline denoises, family by family: the reverse of what it decodes with.

A family that is not in the table begins from no picture. Formulas are those of diffusers 0.42's image to image, and
where it has none, the reverse of the lines before a pipeline's `vae.decode`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image as Picture
from torch import Tensor
from torch.nn.functional import interpolate

from workers.models.samplers import flows

Form = Callable[[Any, Tensor], Tensor]


def _scaled(pipeline: Any, latents: Tensor) -> Tensor:
    """Scale as `AutoencoderKL` and its like say: by a factor, and by a shift or by means and deviations if they do."""
    config = pipeline.vae.config
    factor = config.get("scaling_factor") or 1.0
    means, deviations = config.get("latents_mean"), config.get("latents_std")
    if means is not None and deviations is not None:  # of some SDXL
        return (latents - _channels(means, latents)) * factor / _channels(deviations, latents)
    shift = config.get("shift_factor")
    return (latents * factor) if not shift else (latents - shift) * factor


def _normal(pipeline: Any, latents: Tensor) -> Tensor:
    """Bring every channel to mean 0 and deviation 1, as the codecs of films say."""
    config = pipeline.vae.config
    return (latents - _channels(config.latents_mean, latents)) * (1.0 / _channels(config.latents_std, latents))


def _batch_normal(pipeline: Any, latents: Tensor) -> Tensor:
    """Bring patches of four latents to mean 0 and deviation 1 (FLUX.2)."""
    latents = pipeline._patchify_latents(latents)
    norm = pipeline.vae.bn
    mean = norm.running_mean.view(1, -1, 1, 1).to(latents.device, latents.dtype)
    spread = torch.sqrt(norm.running_var.view(1, -1, 1, 1) + pipeline.vae.config.batch_norm_eps)
    return (latents - mean) / spread.to(latents.device, latents.dtype)


def _as_they_are(_: Any, latents: Tensor) -> Tensor:
    return latents


def _packed(pipeline: Any, latents: Tensor) -> Tensor:
    """Put patches in a row, as transformers read them."""
    return pipeline._pack_latents(latents.contiguous(), *latents.shape[:2], *latents.shape[-2:])


def _rows(pipeline: Any, latents: Tensor) -> Tensor:
    """Put latents, patches already, in a row (FLUX.2)."""
    return pipeline._pack_latents(latents)


@dataclass(frozen=True)
class Latents:
    """How a family's latents come from those of its codec.

    values: their numbers. shape: their places. films: whether the codec reads frames, so that a picture is one.
    """

    values: Form = _scaled
    shape: Form = _as_they_are
    films: bool = False


_PLAIN, _ROWS, _FILMS = Latents(), Latents(_scaled, _packed), Latents(_normal, _packed, films=True)
LATENTS: dict[str, Latents] = {
    **dict.fromkeys(("StableDiffusionPipeline", "StableDiffusionXLPipeline", "LatentConsistencyModelPipeline"), _PLAIN),
    **dict.fromkeys(("StableDiffusion3Pipeline", "ZImagePipeline", "Lumina2Pipeline", "HiDreamImagePipeline"), _PLAIN),
    **dict.fromkeys(("AuraFlowPipeline", "SanaPipeline", "PixArtAlphaPipeline", "PixArtSigmaPipeline"), _PLAIN),
    **dict.fromkeys(("HunyuanDiTPipeline", "HunyuanImagePipeline", "ZImageOmniPipeline"), _PLAIN),
    **dict.fromkeys(("CogView3PlusPipeline", "CogView4Pipeline"), _PLAIN),
    **dict.fromkeys(("FluxPipeline", "FluxKontextPipeline", "ChromaPipeline", "LongCatImagePipeline"), _ROWS),
    **dict.fromkeys(
        ("QwenImagePipeline", "QwenImageEditPipeline", "QwenImageEditPlusPipeline", "Krea2Pipeline"), _FILMS
    ),
    **dict.fromkeys(("Flux2Pipeline", "Flux2KleinPipeline"), Latents(_batch_normal, _rows)),
    "WanPipeline": Latents(_normal, films=True),
}


def begins_from_pictures(pipeline: Any) -> bool:
    """Tell whether a pipeline can be made to begin from a picture."""
    encodes = hasattr(getattr(pipeline, "vae", None), "encode")
    return type(pipeline).__name__ in LATENTS and encodes and hasattr(pipeline, "scheduler")


def rounds_up(pipeline: Any) -> bool:
    """Tell whether diffusers' image to image rounds up the steps that it draws."""
    return hasattr(pipeline, "scheduler") and flows(pipeline.scheduler)


def encoded(pipeline: Any, picture: Picture) -> Tensor:
    """Return a picture's latents [1, channels, (frames,) rows, columns]: the likeliest ones, not a draw."""
    vae = pipeline.vae
    pixels = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
    pixels = pixels.view(1, picture.height, picture.width, 3).permute(0, 3, 1, 2)
    upcast = vae.dtype == torch.float16 and bool(vae.config.get("force_upcast"))  # SDXL's codec overflows in float16
    if upcast:
        vae.to(torch.float32)
    values = (2.0 * (pixels.float() / 255.0) - 1.0).contiguous().to(vae.device, vae.dtype)
    family = LATENTS[type(pipeline).__name__]
    found = vae.encode(values.unsqueeze(2) if family.films else values)
    if upcast:
        vae.to(torch.float16)
    latents = found.latent_dist.mode() if hasattr(found, "latent_dist") else next(iter(found.values()))
    return family.values(pipeline, latents)


def enlarged(latents: Tensor, rows: int, columns: int) -> Tensor:
    """Return latents scaled to so many rows and columns."""
    layers = latents.reshape(1, -1, *latents.shape[-2:])
    return interpolate(layers, (rows, columns), mode="bilinear").reshape(*latents.shape[:-2], rows, columns)


def shaped(pipeline: Any, latents: Tensor, like: Tensor) -> Tensor:
    """Return latents in the shape, dtype and place of those that a pipeline denoises; raises RuntimeError."""
    found = LATENTS[type(pipeline).__name__].shape(pipeline, latents)
    if found.shape != like.shape:
        name = type(pipeline).__name__
        raise RuntimeError(f"{name} denoises latents of {tuple(like.shape)}; the picture's are {tuple(found.shape)}")
    return found.to(like.device, like.dtype)


def _channels(values: Any, like: Tensor) -> Tensor:
    return torch.tensor(values).view(1, -1, *(1,) * (like.dim() - 2)).to(like.device, like.dtype)
