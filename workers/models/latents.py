"""From pictures to the latents that a pipeline denoises, family by family: the reverse of what it decodes with.

A family that is not in the table begins from no picture. Formulas are those of diffusers 0.42's image to image, and
where it has none, the reverse of the lines before a pipeline's `vae.decode`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from PIL.Image import Image as Picture
from torch import Tensor
from torch.nn.functional import interpolate

from workers.models.pixels import planes_of
from workers.models.samplers import flows

Form = Callable[[Any, Tensor], Tensor]


Mix = Callable[[Any, Tensor, Tensor, int], Tensor]  # of a scheduler, a picture, its noise, and which of the timesteps


def _by_scheduler(scheduler: Any, clean: Tensor, noise: Tensor, at: int) -> Tensor:
    """Mix as the schedulers of diffusion do: more noise, less picture, by the sums of their variances."""
    return scheduler.add_noise(clean, noise, scheduler.timesteps[at][None])


def _straight(scheduler: Any, clean: Tensor, noise: Tensor, at: int) -> Tensor:
    """Mix on a straight line between picture and noise, as flow matching does."""
    level = scheduler.sigmas[at].to(clean.device, clean.dtype)
    return level * noise + (1.0 - level) * clean


def _added(scheduler: Any, clean: Tensor, noise: Tensor, at: int) -> Tensor:
    """Add noise to the whole picture (Cosmos 2); what its pipeline prepares is the noise of the highest level."""
    level = scheduler.sigmas[at].to(clean.device, clean.dtype)
    return clean + level / scheduler.config.sigma_max * noise


def _turned(scheduler: Any, clean: Tensor, noise: Tensor, at: int) -> Tensor:
    """Mix on a quarter of a circle (Sana-Sprint), whose angles are the timesteps."""
    angle = scheduler.timesteps[at].to(clean.device, clean.dtype)
    return torch.cos(angle) * clean + torch.sin(angle) * noise


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
    return _normed(pipeline, pipeline._patchify_latents(latents), pipeline.vae.config.batch_norm_eps)


def _by_factor(pipeline: Any, latents: Tensor) -> Tensor:
    """Scale by a factor alone, whatever else the codec says (Kandinsky 5)."""
    return latents * pipeline.vae.config.scaling_factor


def _squares(pipeline: Any, latents: Tensor) -> Tensor:
    """Bring patches of four latents to mean 0 and deviation 1, a patch's places before its channels (Ideogram 4)."""
    of, (channels, rows, columns) = pipeline.patch_size, latents.shape[-3:]
    latents = latents.view(1, channels, rows // of, of, columns // of, of).permute(0, 3, 5, 1, 2, 4)
    latents = latents.reshape(1, of * of * channels, rows // of, columns // of)
    return _normed(pipeline, latents, pipeline.vae.config.batch_norm_eps)


def _small_batch_normal(pipeline: Any, latents: Tensor) -> Tensor:
    """As FLUX.2, with the addend that the pipeline has in place of the codec's (Ernie-Image)."""
    return _normed(pipeline, pipeline._patchify_latents(latents), 1e-5)


def _normed(pipeline: Any, latents: Tensor, eps: float) -> Tensor:
    norm = pipeline.vae.bn
    mean = norm.running_mean.view(1, -1, 1, 1).to(latents.device, latents.dtype)
    spread = torch.sqrt(norm.running_var.view(1, -1, 1, 1) + eps)
    return (latents - mean) / spread.to(latents.device, latents.dtype)


def _as_they_are(_: Any, latents: Tensor) -> Tensor:
    return latents


def _packed(pipeline: Any, latents: Tensor) -> Tensor:
    """Put patches in a row, as transformers read them."""
    return pipeline._pack_latents(latents.contiguous(), *latents.shape[:2], *latents.shape[-2:])


def _rows(pipeline: Any, latents: Tensor) -> Tensor:
    """Put latents, patches already, in a row (FLUX.2)."""
    return pipeline._pack_latents(latents)


def _in_a_row(_: Any, latents: Tensor) -> Tensor:
    """Put all places in a row, each with its channels last."""
    return latents.flatten(2).transpose(1, 2)


def _channels_last(_: Any, latents: Tensor) -> Tensor:
    """Put channels behind a film's frames, rows and columns (Kandinsky 5)."""
    return latents.permute(0, 2, 3, 1).unsqueeze(1)


@dataclass(frozen=True)
class Latents:
    """How a family's latents come from those of its codec.

    values: their numbers. shape: their places. films: whether the codec reads frames, so that a picture is one.
    colours: what it reads of a picture. mix: of picture and noise, where the kind of the scheduler does not say it.
    part: of the pipeline, the one that prepares what is denoised. times: the scheduler's setting by which that is
    multiplied then.
    """

    values: Form = _scaled
    shape: Form = _as_they_are
    films: bool = False
    colours: str = "RGB"
    mix: Mix | None = None
    part: str | None = None
    times: str | None = None


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
    "QwenImage21Pipeline": Latents(_normal, _in_a_row, films=True, colours="RGBA"),
    "Cosmos2TextToImagePipeline": Latents(_normal, films=True, mix=_added),
    "Kandinsky3Pipeline": Latents(_as_they_are),
    "KandinskyV22CombinedPipeline": Latents(_as_they_are, part="decoder_pipe"),
    "Kandinsky5T2IPipeline": Latents(_by_factor, _channels_last),
    "Ideogram4Pipeline": Latents(_squares, _in_a_row),
    "ErnieImagePipeline": Latents(_small_batch_normal),
    **dict.fromkeys(("DreamLitePipeline", "DreamLiteMobilePipeline"), _PLAIN),
    "SanaSprintPipeline": Latents(mix=_turned, times="sigma_data"),
}


def why_from_none(pipeline: Any) -> str | None:
    """Return why a pipeline cannot be made to begin from a picture; None where it can."""
    name = type(pipeline).__name__
    if name not in LATENTS:
        return f"how {name} scales and places its latents is not known here"
    if not hasattr(_codec(pipeline), "encode"):
        return "its codec only decodes"
    return None if hasattr(pipeline, "scheduler") else "it has no scheduler whose steps could be left out"


def rounds_up(pipeline: Any) -> bool:
    """Tell whether diffusers' image to image rounds up the steps that it draws."""
    return hasattr(pipeline, "scheduler") and mixed(pipeline) is not _by_scheduler


def mixed(pipeline: Any) -> Mix:
    """Return how a pipeline's pictures are mixed with noise."""
    own = LATENTS.get(type(pipeline).__name__, _PLAIN).mix
    return own or (_straight if flows(pipeline.scheduler) else _by_scheduler)


def times(pipeline: Any) -> float:
    """Return by what a pipeline multiplies the latents that it has prepared."""
    setting = LATENTS[type(pipeline).__name__].times
    return pipeline.scheduler.config[setting] if setting else 1.0


def noise_like(pipeline: Any, latents: Tensor, generator: torch.Generator) -> Tensor:
    """Return the noise that a pipeline without `prepare_latents` draws for latents of this shape."""
    return randn_tensor(latents.shape, generator, latents.device, pipeline.transformer.dtype)


def preparing(pipeline: Any) -> Any:
    """Return what prepares the latents that a pipeline denoises: the pipeline, or one inside it."""
    part = LATENTS[type(pipeline).__name__].part
    return getattr(pipeline, part) if part else pipeline


def encoded(pipeline: Any, picture: Picture, hidden: Picture | None = None) -> Tensor:
    """Return a picture's latents [1, channels, (frames,) rows, columns]: the likeliest ones, not a draw.

    hidden: white where it is to be as grey as a codec can have it.
    """
    return valued(pipeline, of_codec(pipeline, picture, hidden))


def of_codec(pipeline: Any, picture: Picture, hidden: Picture | None = None) -> Tensor:
    """Return a picture's latents as its codec has them, before they are brought to a pipeline's scale."""
    vae, family = _codec(pipeline), LATENTS[type(pipeline).__name__]
    pixels = planes_of(picture.convert(family.colours))
    with _wide_enough(vae):
        values = (2.0 * (pixels.float() / 255.0) - 1.0).contiguous().to(vae.device, vae.dtype)
        if hidden is not None:
            values *= (planes_of(hidden) == 0).to(values)
        found = vae.encode(values.unsqueeze(2) if family.films else values)
    return found.latent_dist.mode() if hasattr(found, "latent_dist") else next(iter(found.values()))


def valued(pipeline: Any, latents: Tensor) -> Tensor:
    """Return a codec's latents at a pipeline's scale."""
    return LATENTS[type(pipeline).__name__].values(pipeline, latents)


def decoded(pipeline: Any, latents: Tensor) -> Tensor:
    """Return what the codec makes of its own latents: pixels [1, 3, rows, columns], about from -1 to 1."""
    vae = _codec(pipeline)
    with _wide_enough(vae):
        found = vae.decode(latents.to(vae.dtype), return_dict=False)[0]
    return (found[:, :, 0] if found.dim() == 5 else found)[:, :3].float()


@contextmanager
def _wide_enough(vae: Any) -> Iterator[None]:
    """Have SDXL's codec, which overflows in float16, compute in float32."""
    upcast = vae.dtype == torch.float16 and bool(vae.config.get("force_upcast"))
    if upcast:
        vae.to(torch.float32)
    try:
        yield
    finally:  # whatever it is, the pictures after it are decoded as the ones before
        if upcast:
            vae.to(torch.float16)


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


def unpacked(pipeline: Any, latents: Tensor, channels: int, rows: int, columns: int) -> Tensor:
    """Return what a pipeline denoises as [1, channels, rows, columns], on the CPU: the reverse of `shaped`."""
    family = LATENTS[type(pipeline).__name__]
    numbers = torch.arange(channels * rows * columns, dtype=torch.float64).view(1, channels, rows, columns)
    where = family.shape(pipeline, numbers.unsqueeze(2) if family.films else numbers).flatten().long()
    found = torch.empty(where.shape[0])
    found[where] = latents[:1].float().cpu().flatten()
    return found.view(1, channels, rows, columns)


def _codec(pipeline: Any) -> Any:
    return getattr(pipeline, "vae", None) or getattr(pipeline, "movq", None)  # as Kandinsky calls it


def _channels(values: Any, like: Tensor) -> Tensor:
    return torch.tensor(values).view(1, -1, *(1,) * (like.dim() - 2)).to(like.device, like.dtype)
