"""A base model of one layer that draws in microseconds, and adapters for it."""

from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from PIL import Image
from safetensors.torch import save
from torch import Tensor, nn

from tests.app.shared.making import profile
from workers.models.loading import LoadedModel
from workers.models.obeys import obeyed

WIDTH = 8
SIDE = 64  # pixels of its pictures
LAYER = "lora_unet_block_to_q"


class _UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.ModuleDict({"to_q": nn.Linear(WIDTH, WIDTH, bias=False)})
        with torch.no_grad():
            self.block["to_q"].weight.copy_(torch.eye(WIDTH))  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        return self.block["to_q"](x)


class Pipeline:
    """Called as diffusers' pipelines are, as far as the engine does."""

    def __init__(self) -> None:
        self.unet = _UNet().requires_grad_(False)
        self.scheduler = DDIMScheduler(num_train_timesteps=10)
        self.before_step: Any = lambda: None

    def __call__(self, prompt: str, num_inference_steps: int, generator: torch.Generator) -> Any:
        self.scheduler.set_timesteps(num_inference_steps)
        pixels = torch.rand(WIDTH, WIDTH, generator=generator)
        for timestep in self.scheduler.timesteps:
            self.before_step()
            pixels = self.unet(pixels).clamp(0, 1)
            self.scheduler.step(torch.zeros_like(pixels), int(timestep), pixels)
        image = Image.fromarray((pixels * 255).round().to(torch.uint8).numpy(), "L").convert("RGB")
        return type("Output", (), {"images": [image.resize((SIDE, SIDE), Image.Resampling.NEAREST)]})


def base() -> LoadedModel:
    """A fresh base model."""
    pipeline = Pipeline()
    return LoadedModel(pipeline, {"unet": pipeline.unet}, profile(components=["unet"], obeys=obeyed(pipeline)), Path())


def adapter(seed: int, rank: int = 1) -> bytes:
    """A LoRA file for the one layer."""
    generator = torch.Generator().manual_seed(seed)
    return save(
        {
            f"{LAYER}.lora_up.weight": torch.rand(WIDTH, rank, generator=generator) / 4,
            f"{LAYER}.lora_down.weight": torch.rand(rank, WIDTH, generator=generator) / 4,
            f"{LAYER}.alpha": torch.tensor(float(rank)),
        }
    )
