"""Starts the three runs, one after the other: the encoder first, for the image prompts are trained on it."""

from pathlib import Path

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from safetensors.torch import save
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from workers.training.emoji import pipeline
from workers.training.emoji.guided import control, image_encoder, image_prompt, subjects
from workers.training.emoji.loop import Loop, LoopPlan

COMMON_HEADER = {
    "modelspec.sai_model_spec": "1.0.0",
    "modelspec.author": "Radiata",
    "modelspec.license": "Apache-2.0, MIT",
    "modelspec.resolution": "64x64",
    "ss_base_model_version": "emoji-64",
}
CONTROL_HEADER = {
    "modelspec.title": "Edges",
    "modelspec.description": "T2I-Adapter of emoji-64 for line maps (Canny), white on black.",
}
IMAGE_PROMPT_HEADER = {
    "modelspec.title": "Reference",
    "modelspec.description": "IP-Adapter of emoji-64: what is drawn resembles a reference picture.",
}


def run_encoder(cache: Path, run: Path, base: Path, plan: LoopPlan) -> None:
    """Train (or go on training) the image encoder; it ends up in `run/image_encoder`, in float16."""
    encoder = image_encoder.blank(plan.seed)
    objective = image_encoder.Objective(encoder, frozen(base), subjects.load(cache))
    Loop([objective], lambda step: objective.loss(_seed(plan, step), plan.batch), plan, run).train()
    image_encoder.write(encoder, run / "image_encoder")


def run_control(cache: Path, run: Path, base: Path, plan: LoopPlan, out: Path) -> None:
    """Train (or go on training) the T2I-Adapter for line maps, and write it to the file `out`."""
    pipe = frozen(base)
    adapter = control.blank(pipe.unet, plan.seed)
    objective = control.Objective(adapter, pipe, subjects.load(cache))
    Loop([adapter], lambda step: objective.loss(_seed(plan, step), plan.batch), plan, run).train()
    write(out, adapter.state_dict(), CONTROL_HEADER)


def run_image_prompt(cache: Path, run: Path, base: Path, encoder: Path, plan: LoopPlan, out: Path) -> None:
    """Train (or go on training) the IP-Adapter, and the encoder with it: a file `out`, and `run/image_encoder`."""
    pipe = frozen(base)
    eye = CLIPVisionModelWithProjection.from_pretrained(encoder, dtype=torch.float32)
    prompt = image_prompt.ImagePrompt(pipe.unet, eye.config.projection_dim, plan.seed)
    objective = image_prompt.Objective(prompt, eye, pipe, subjects.load(cache))
    Loop([prompt, eye], lambda step: objective.loss(_seed(plan, step), plan.batch), plan, run).train()
    write(out, prompt.file(), IMAGE_PROMPT_HEADER)
    image_encoder.write(eye, run / "image_encoder")


def write(out: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write the tensors in float16, whole or not at all."""
    halves = {name: tensor.detach().half().contiguous() for name, tensor in tensors.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    partial.write_bytes(save(halves, metadata=COMMON_HEADER | header))
    partial.replace(out)


def frozen(base: Path) -> StableDiffusionPipeline:
    """The base's parts in float32, none of which is trained."""
    torch.set_num_threads(1)
    pipe = pipeline.warm(base)
    for part in (pipe.unet, pipe.text_encoder, pipe.vae):
        part.requires_grad_(False)
    return pipe


def _seed(plan: LoopPlan, step: int) -> int:
    return plan.seed * 1_000_003 + step
