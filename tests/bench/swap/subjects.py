"""The models that swaps are measured on, each with a twin of its weights in memory: pristine, and what is copied."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

import workers.models

BUNDLED = Path(workers.models.__file__).parent / "emoji-64"
# As runwayml/stable-diffusion-v1-5 configures its UNet: 859,520,964 numbers.
SD15: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
TINY: dict[str, Any] = {  # the same kinds of layers in half a million numbers: for the benchmark's own test
    "sample_size": 8,
    "cross_attention_dim": 32,
    "attention_head_dim": 4,
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "norm_num_groups": 8,
}
NAMES = {"sd15": "SD 1.5-shaped UNet", "bundled": "bundled UNet", "tiny": "tiny UNet"}


@dataclass(frozen=True)
class Subject:
    """A UNet and a second copy of its matrices and kernels."""

    name: str
    unet: Any  # a UNet2DConditionModel; diffusers types its wrapped methods wrongly
    twin: dict[str, Tensor]

    @property
    def title(self) -> str:
        """The model's name in tables."""
        return f"{NAMES[self.name]}, {sum(p.numel() for p in self.unet.parameters()) / 1e6:.0f} M"

    def copies(self, parameters: Iterable[str]) -> Callable[[], None]:
        """Return what copies these weights once, in place: the limit that a swap is held to. It makes them pristine."""
        pairs = [(self.unet.get_parameter(parameter).detach(), self.twin[parameter]) for parameter in parameters]

        def copy() -> None:
            for live, pristine in pairs:
                live.copy_(pristine)

        return copy

    def changed(self) -> int:
        """The number of elements that differ from the pristine ones."""
        return sum(
            int(
                (
                    self.unet.get_parameter(name).detach().view(-1).view(_bits(pristine))
                    != pristine.view(-1).view(_bits(pristine))
                ).sum()
            )
            for name, pristine in self.twin.items()
        )

    def step(self, size: int = 0) -> None:
        """One denoising step of one picture, without guidance. size: edge of the latents; 0 is the model's own."""
        size = size or self.unet.config["sample_size"]
        weight = self.unet.conv_in.weight
        channels, width = self.unet.config["in_channels"], self.unet.config["cross_attention_dim"]
        generator = torch.Generator().manual_seed(0)
        latents = torch.randn(1, channels, size, size, generator=generator).to(weight)
        text = torch.randn(1, 77, width, generator=generator).to(weight)
        with torch.inference_mode():
            self.unet(latents, 500, text)


def subject(name: str, device: str = "cpu", dtype: torch.dtype = torch.float32, twin: bool = True) -> Subject:
    """Return a model by its name: "sd15" (random weights, built from its configuration), "bundled" or "tiny"."""
    if name == "bundled":
        unet: Any = UNet2DConditionModel.from_pretrained(BUNDLED, subfolder="unet")
        unet = unet.to(device, dtype)
    else:
        unet = _random({"sd15": SD15, "tiny": TINY}[name], device, dtype)
    unet = unet.eval().requires_grad_(False)
    weights = {f"{path}.weight": module.weight for path, module in matrices(unet)}
    return Subject(name, unet, {name: weight.detach().clone() for name, weight in weights.items()} if twin else {})


def matrices(unet: nn.Module) -> list[tuple[str, nn.Linear | nn.Conv2d]]:
    """Every linear layer and convolution with its path."""
    return [(path, module) for path, module in unet.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]


def _random(config: dict[str, Any], device: str, dtype: torch.dtype) -> Any:
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(**config)
    unet = unet.to(dtype).to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if "norm" in name:
                parameter.fill_(name.endswith("weight"))
            else:
                parameter.uniform_(-0.02, 0.02, generator=generator)
    return unet


def _bits(weight: Tensor) -> torch.dtype:
    return {2: torch.int16, 4: torch.int32}[weight.element_size()]
