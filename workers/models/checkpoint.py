"""A single file with the weights of a base in their original layout, as other tools write it.

Which part a tensor belongs to is told by the start of its name. The parts are made one by one, each from its own
tensors alone: diffusers tells CLIP-L and CLIP-G of a whole file apart by a width, which may be the same.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_model import FromOriginalModelMixin
from diffusers.loaders.single_file_utils import (
    create_diffusers_clip_model_from_ldm,
    create_diffusers_t5_model_from_checkpoint,
)
from diffusers.models.model_loading_utils import load_gguf_checkpoint
from diffusers.quantizers.quantization_config import GGUFQuantizationConfig
from safetensors import safe_open
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

from lycoris import architecture_of_model
from workers.models.components import class_of, denoiser_of
from workers.models.original_kinds import ANYTHING, further_repository, kind_of, repository_of, unserved
from workers.models.weight_files import Stored, Unservable, header_of
from workers.models.weight_names import GGUF

DENOISER = "model.diffusion_model."
# Start of a tensor's name -> its part of the pipeline; the part of a T5 is told by its class
PARTS = {
    "first_stage_model.": "vae",
    "vae.": "vae",
    "cond_stage_model.": "text_encoder",
    "conditioner.embedders.0.": "text_encoder",
    "conditioner.embedders.1.": "text_encoder_2",
    "text_encoders.clip_l.": "text_encoder",
    "text_encoders.clip_g.": "text_encoder_2",
    "text_encoders.t5xxl.": "T5EncoderModel",
}
# What training left in a file, and no picture is drawn with: schedules of noise, averages, counters
LEFTOVERS = re.compile(
    r"v_pred|ztsnr|betas|(alphas|sqrt|log|posterior)_\w+|logvar|lvlb_weights|scale_factor|(model_ema|denoiser|embedding_manager)\..+"
)
ADAPTER = re.compile(r"(lora|lycoris|lokr)_|.*\.(lora_(A|B|up|down|E)\b|hada_w|lokr_w|oft_)")
SCALED = re.compile(
    r".*(^|\.)(scaled_fp8|scale_weight|scale_input|weight_scale|input_scale|comfy_quant|weight_scale_2)$"
)
# Families by the start of a tensor's name in the denoiser, where it is not diffusers' own
LAYOUTS = {
    "Stable Diffusion": re.compile(r"(input|output)_blocks\.\d+\.|middle_block\."),
    "Stable Diffusion 3": re.compile(r"joint_blocks\.\d+\."),
    "FLUX, Chroma or Hunyuan": re.compile(r"(double|single)_blocks\.\d+\."),
    "Z-Image or Lumina 2": re.compile(r"(layers|noise_refiner|context_refiner)\.\d+\.(attention|feed_forward)\."),
    "AuraFlow": re.compile(r"(double|single)_layers\.\d+\."),
    "HiDream": re.compile(r"(double|single)_stream_blocks\.\d+\."),
    "Wan, Sana or Cosmos": re.compile(r"(net\.)?blocks\.\d+\."),
    "a UNet in diffusers' names": re.compile(r"(down|up)_blocks\.\d+\."),
    "a transformer in diffusers' names": re.compile(r"(single_)?transformer_blocks\.\d+\."),
}
READERS: Mapping[Any, Any] = {
    CLIPTextModel: create_diffusers_clip_model_from_ldm,
    CLIPTextModelWithProjection: create_diffusers_clip_model_from_ldm,
    T5EncoderModel: create_diffusers_t5_model_from_checkpoint,
}


class Checkpoint:
    """The weights of several parts of a pipeline in one file; or those of one `part` alone."""

    def __init__(self, path: Path, part: str | None = None) -> None:
        self.path = path
        self._part = part
        self._judged = False

    @cached_property
    def header(self) -> Mapping[str, Stored]:
        """The tensors by name; raises Unservable for a file that is not whole."""
        return header_of(self.path)

    def judge(self) -> None:
        """Raise Unservable for what is no base, or not of one."""
        if self._judged:
            return
        names = [*self.header]
        if not names:
            raise Unservable(f"{self.path} has no tensors")
        if adapters := [name for name in names if ADAPTER.match(name)]:
            raise Unservable(f"{self.path} is an adapter, no base ({adapters[0]}): upload it to `/v1/adapters`")
        if scaled := [name for name in names if SCALED.match(name)]:
            raise Unservable(
                f"{self.path} has numbers of 8 bits or fewer with scales of their own ({scaled[0]}), which diffusers "
                "does not read: have it in float16 or bfloat16"
            )
        found = self._layouts()
        if len(found) > 1:
            told = " and ".join(f"{family} ({name})" for family, name in found.items())
            raise Unservable(f"{self.path} has tensors of more than one family: {told}")
        self._judged = True

    def parts(self, index: Mapping[str, Any]) -> dict[str, dict[str, Stored]]:
        """Return the tensors by the part of the pipeline that they belong to; raises Unservable."""
        if self._part:
            return {self._part: dict(self.header)}
        denoiser = denoiser_of(index)
        by_class = {kind[1]: part for part, kind in reversed([*index.items()]) if isinstance(kind, list)}
        found: dict[str, dict[str, Stored]] = {}
        for name, stored in self.header.items():
            start = next((start for start in PARTS if name.startswith(start)), None)
            part = by_class.get(PARTS[start], PARTS[start]) if start else denoiser
            if part and (start or self._denoises(name)):
                found.setdefault(part, {})[name] = stored
        if denoiser not in found:
            raise Unservable(f"{self.path} has no weights of a {denoiser}, which the pipeline beside it draws with")
        return found

    def family(self) -> str:
        """Return what the names and shapes of the denoiser's tensors tell of its family, for a sentence."""
        stripped = {_bare(name): stored.shape for name, stored in self.header.items() if self._denoises(name)}
        if (found := architecture_of_model({"unet": stripped})) and found.sure:
            return f"weights of {found.name}"
        return next((f"weights of {family}" for family in self._layouts()), "")

    def configured_by(self) -> str:
        """Return where diffusers takes the configurations of a file of this kind from, for a sentence.

        Raises Unservable for a kind that draws nothing from a prompt.
        """
        kind = kind_of(self.header)
        if why := unserved(kind):
            raise Unservable(f"{self.path} is like {repository_of(kind)}, and {why}: no picture is drawn from a prompt")
        if self.family().endswith(("SD 1", "Stable Diffusion")):
            kind = kind or ANYTHING
        where = further_repository(self.header) or repository_of(kind)
        return f"as in {where} on the hub" if where else "as in the model's repository on the hub"

    def makes(self, named: tuple[str, str]) -> bool:
        """Tell whether diffusers makes a class, named with its library, from a file."""
        kind = class_of(*named)
        return kind in READERS or (isinstance(kind, type) and issubclass(kind, FromOriginalModelMixin))

    def model(self, part: str, config: Path, index: Mapping[str, Any], dtype: torch.dtype) -> nn.Module:
        """Return a part of the pipeline with its weights from the file, and its configuration from a folder of its own.

        Raises whatever diffusers meets in it.
        """
        kind: Any = class_of(*index[part])
        tensors = self._read(self.parts(index)[part])
        # As `subfolder` of the folder above: None is not taken
        options: dict[str, Any] = {"config": str(config.parent), "subfolder": config.name, "local_files_only": True}
        if self.path.suffix == GGUF:
            options["quantization_config"] = GGUFQuantizationConfig(compute_dtype=dtype)
        elif read := READERS.get(kind):
            return read(kind, checkpoint=tensors, torch_dtype=dtype, **options)
        if part == denoiser_of(index):
            start = DENOISER if kind.__name__.startswith("UNet") else ""
            tensors = {f"{start}{_bare(name)}": tensor for name, tensor in tensors.items()}
        return kind.from_single_file(tensors, torch_dtype=dtype, **options)

    def _read(self, names: Iterable[str]) -> dict[str, torch.Tensor]:
        if self.path.suffix == GGUF:
            tensors = load_gguf_checkpoint(str(self.path))
            return {name: tensors[name] for name in names}
        with safe_open(self.path, "pt") as file:
            return {name: file.get_tensor(name) for name in names}

    @cached_property
    def _prefixed(self) -> bool:
        return any(name.startswith(DENOISER) for name in self.header)

    def _denoises(self, name: str) -> bool:
        if self._prefixed:
            return name.startswith(DENOISER)
        return not any(name.startswith(start) for start in PARTS) and not LEFTOVERS.fullmatch(name)

    def _layouts(self) -> dict[str, str]:
        """Return the families by whose layout the denoiser's tensors are named, each with the first such tensor."""
        found: dict[str, str] = {}
        for name in self.header:
            bare = _bare(name)
            for family, pattern in LAYOUTS.items():
                if pattern.match(bare) and not (self._part or any(name.startswith(start) for start in PARTS)):
                    found.setdefault(family, name)
        return found


def _bare(name: str) -> str:
    return name.removeprefix(DENOISER)
