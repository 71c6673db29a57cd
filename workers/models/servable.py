"""Pipelines that draw no still picture from a prompt, told by the signature of their call before anything is loaded."""

import re
from importlib.metadata import version
from typing import Any

import diffusers

from workers.models.call import NEEDED, arguments_of
from workers.models.families import FAMILIES
from workers.models.folder import ModelFolder, Unservable
from workers.models.inpainting import reads_mask
from workers.models.references import SHOWN

# A call with one of these changes a picture, or follows one
GIVEN = ("strength", "mask_image", "control_image", "control_images", "control_video", "video", "source_prompt")
# Their calls have a picture as an argument with a default, and draw nothing without it
CHANGES = re.compile(
    r"Img2Img|ImageToImage|I2I|Inpaint|Edit|Pix2Pix|Upscale|SuperResolution|Refiner|Layered|ControlNet|Adapter"
)
FRAMES = ("num_frames", "video_length", "frames")
LATENTS_ALONE = ("StableDiffusion", "LatentConsistency")  # what the UNets of such pipelines read
SOUND = ("audio_length_in_s", "audio_end_in_s", "audio_duration")


def judge_pipeline(name: str) -> None:
    """Raise Unservable where a pipeline class of diffusers draws no still picture from a prompt."""
    try:
        kind = getattr(diffusers, name, None)
    except RuntimeError as error:  # diffusers imports a pipeline when it is first asked for
        raise Unservable(
            f"diffusers {version('diffusers')} cannot import {name}: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(kind, type):
        raise Unservable(f"diffusers {version('diffusers')} has no pipeline {name}")
    takes = arguments_of(kind)
    if why := _why_not(name, takes):
        raise Unservable(f"{name} {why}; this service draws still pictures from a prompt alone")


def _why_not(name: str, takes: Any) -> str:
    needed = [one for one, has in takes.items() if has.default is has.empty and has.kind is has.POSITIONAL_OR_KEYWORD]
    if pictures := [one for one in needed if "image" in one or "video" in one]:
        return f"needs {pictures[0]} besides a prompt"
    if name.endswith("PriorPipeline"):
        return "draws no picture, but what a decoder reads"
    if name not in SHOWN and (CHANGES.search(name) or any(one in takes for one in GIVEN)):
        return "changes a picture that it is given"
    if any(one in takes for one in SOUND):
        return "makes sound"
    stills = [argument for row in FAMILIES if row.pipeline == name for argument in row.extra]
    if any(one in takes and one not in stills for one in FRAMES):
        return "draws moving pictures"
    if missing := [one for one in NEEDED if one not in takes]:
        return f"cannot be used: its call takes no {', '.join(missing)}"
    if not {"width", "height"} & takes.keys():
        return "draws no picture of a size that can be asked for"
    return ""


def judge_channels(folder: ModelFolder) -> None:
    """Raise Unservable for a UNet of Stable Diffusion that reads more than latents, or these with mask and picture."""
    name = folder.index["_class_name"]
    reads, writes = folder.setting("unet", "in_channels"), folder.setting("vae", "latent_channels")
    if reads_mask(name, reads, writes):
        return
    if name.startswith(LATENTS_ALONE) and isinstance(reads, int) and isinstance(writes, int) and reads != writes:
        raise Unservable(
            f"the UNet in {folder.path} reads {reads} channels, and a latent of its VAE has {writes}: what it reads "
            "beside latents, and beside a mask and a picture for inpainting, is not known here"
        )
