"""Files of image prompts with random weights, in IP-Adapter's layout, and a tiny image encoder."""

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from tests.families.family import Family
from tests.families.serving import Served, serving
from tests.families.weights import fill

HIDDEN, PROJECTED, EDGE = 16, 24, 32
WIDE, WIDE_HIDDEN, WIDE_PROJECTED = "wide", 32, 40
TOKENS = 4  # as diffusers takes every plain file to have
LOUD = 3.0  # so that a random image prompt moves a random base


def serving_with_encoder(
    family: Family, folders: pytest.TempPathFactory, valkey: str
) -> AbstractContextManager[Served]:
    """An engine over a base with two image encoders of different widths, which its radiata.json names."""
    folder = folders.mktemp("base") / family.name
    family.build(folder)
    save_encoder(folder.parent / "encoder")
    save_encoder(folder.parent / WIDE, hidden_size=WIDE_HIDDEN, projection_dim=WIDE_PROJECTED)
    (folder / "radiata.json").write_text(
        json.dumps({"image_encoder": "../encoder", f"image_encoder.{WIDE}": f"../{WIDE}"})
    )
    return serving(family, folder, folders.mktemp("store"), valkey)


def save_encoder(folder: Path, **changed: Any) -> None:
    """Save a CLIP of two layers that reads pictures."""
    plain: dict[str, Any] = {"hidden_size": HIDDEN, "projection_dim": PROJECTED, "image_size": EDGE, "patch_size": 8}
    plain |= {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**plain | changed))
    fill(type("Parts", (), {"components": {"encoder": encoder}})())
    encoder.save_pretrained(folder)


def random(*shape: int, seed: int, gain: float = 1.0) -> Tensor:
    """Normal numbers, smaller the more of them are summed."""
    generator = torch.Generator().manual_seed(seed)
    return gain * torch.randn(shape, generator=generator) / (shape[-1] ** 0.5 if len(shape) > 1 else 1)


def plain_projection(width: int, reads: int = PROJECTED) -> dict[str, Tensor]:
    """The projection of an ordinary file."""
    return {
        "image_proj.proj.weight": random(TOKENS * width, reads, seed=1),
        "image_proj.proj.bias": random(TOKENS * width, seed=2),
        "image_proj.norm.weight": torch.ones(width),
        "image_proj.norm.bias": torch.zeros(width),
    }


def full_projection(width: int, reads: int = HIDDEN) -> dict[str, Tensor]:
    """The projection of a full-face file."""
    shapes = {"proj.0.weight": (reads, reads), "proj.0.bias": (reads,), "proj.2.weight": (width, reads)}
    shapes |= {"proj.2.bias": (width,), "proj.3.weight": (width,), "proj.3.bias": (width,)}
    return _of(shapes)


def plus_projection(width: int, reads: int = HIDDEN, depth: int = 4, tokens: int = 3) -> dict[str, Tensor]:
    """The resampler of a Plus file."""
    hidden, inner = 8, 64
    shapes: dict[str, tuple[int, ...]] = {"latents": (1, tokens, hidden)}
    for name, rows, columns in (("proj_in", hidden, reads), ("proj_out", width, hidden)):
        shapes |= {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}
    shapes |= {"norm_out.weight": (width,), "norm_out.bias": (width,)}
    for at in range(depth):
        for norm in ("0.norm1", "0.norm2", "1.0"):
            shapes |= {f"layers.{at}.{norm}.{one}": (hidden,) for one in ("weight", "bias")}
        shapes |= {f"layers.{at}.0.to_q.weight": (inner, hidden), f"layers.{at}.0.to_kv.weight": (2 * inner, hidden)}
        shapes |= {f"layers.{at}.0.to_out.weight": (hidden, inner)}
        shapes |= {f"layers.{at}.1.1.weight": (4 * hidden, hidden), f"layers.{at}.1.3.weight": (hidden, 4 * hidden)}
    return _of(shapes)


def _of(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    found = {f"image_proj.{name}": random(*shape, seed=at) for at, (name, shape) in enumerate(shapes.items())}
    norms = (name for name in found if found[name].ndim == 1 and name.endswith("weight"))
    return found | {name: 1 + 0.1 * found[name] for name in norms}


def attention(pipeline: Any, seed: int = 9) -> dict[str, Tensor]:
    """What the attention of a live denoiser reads tokens with, numbered as diffusers numbers it."""
    found: dict[str, Tensor] = {}
    if hasattr(pipeline, "unet"):
        layers = [(name, module) for name, module in pipeline.unet.named_modules() if name.endswith("attn2")]
        by_name = dict(layers)
        order = [name.removesuffix(".processor") for name in pipeline.unet.attn_processors if "attn2" in name]
        for at, name in enumerate(order):
            for one in "kv":
                shape = by_name[name].to_k.weight.shape
                found[f"ip_adapter.{2 * at + 1}.to_{one}_ip.weight"] = random(*shape, seed=seed + at, gain=LOUD)
        return found
    transformer = pipeline.transformer
    hidden, width = transformer.context_embedder.weight.shape
    for at in range(transformer.config.num_layers):
        for one in "kv":
            found[f"ip_adapter.{at}.to_{one}_ip.weight"] = random(hidden, width, seed=seed + at, gain=LOUD)
            found[f"ip_adapter.{at}.to_{one}_ip.bias"] = random(hidden, seed=seed + at)
    return found


def width_of(pipeline: Any) -> int:
    """Numbers of a token that a denoiser reads."""
    if hasattr(pipeline, "unet"):
        return pipeline.unet.config.cross_attention_dim
    return pipeline.transformer.config.joint_attention_dim


def nested(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """A file as diffusers' own loader takes it."""
    found: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        found[part][rest] = tensor
    return found


def disc(width: int = EDGE, height: int = EDGE, colour: str = "green") -> Image.Image:
    """A picture of a disc on white."""
    picture = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(picture).ellipse((4, 6, width - 5, height - 3), fill=colour)
    return picture
