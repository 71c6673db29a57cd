"""Trains an adapter of any algorithm on captioned pictures, through the layer's own verb."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from safetensors.torch import save
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import mse_loss

from lycoris.algorithms.change import Change
from workers.training import folder
from workers.training.factors import RECIPES, begin
from workers.training.pipeline import encode, tokenize
from workers.training.schedule import Rate
from workers.training.velocity import chance, noised

EMPTY_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class AdapterPlan(Rate):
    """How an adapter is trained; the same steps and rate for every algorithm, so that they can be compared."""

    algorithm: str
    steps: int = 450
    batch: int = 16
    warm_up: int = 20
    constant: float = 0.5
    floor: float = 0.05
    ema: float = 0.98
    keep_above: int = 1000
    """From this timestep on the base's own prediction is the target: composition, which is settled while there is
    mostly noise, stays the base's, and only the rest of the way is taught. 1000: everything is taught."""
    seed: int = 64


class AdapterTrainer:
    """Trains the factors of one adapter on a frozen base; UNet only, the text encoder stays as it is."""

    def __init__(self, pipe: StableDiffusionPipeline, pictures: list[folder.Captioned], plan: AdapterPlan) -> None:
        self.pipe, self.pictures, self.plan = pipe, pictures, plan
        self.unet = pipe.unet.requires_grad_(False)
        self.pristine = {name: weight.detach() for name, weight in self.unet.named_parameters()}
        self.changes = begin(self.unet, RECIPES[plan.algorithm], plan.seed)
        self.factors = [t for change in self.changes.values() for t in change.tensors().values() if t.requires_grad]
        self.averages = [factor.detach().clone() for factor in self.factors]
        self.alphas = pipe.scheduler.alphas_cumprod.float()
        self.latents = torch.cat([encode(shown.picture[None], pipe.vae) for shown in pictures])
        self.texts = sorted({"", *(caption for shown in pictures for caption in shown.captions)})
        with torch.no_grad():
            tokens = tokenize(pipe.tokenizer, self.texts)
            self.hidden = torch.cat([pipe.text_encoder(part)[0] for part in tokens.split(64)])

    def merged(self) -> dict[str, Tensor]:
        """The changed weights as the patcher would make them at strength 1, differentiable in the factors."""
        weights = {}
        for path, change in self.changes.items():
            pristine = self.pristine[f"{path}.weight"]
            delta = torch.zeros_like(pristine)
            change.add_change(delta, pristine, 1.0)
            weights[f"{path}.weight"] = pristine + delta
        return weights

    def loss(self, step: int) -> Tensor:
        """Mean squared error of v on the batch of this step, a function of seed and step alone."""
        seed = self.plan.seed * 1_000_003 + step
        rng = random.Random(seed)
        chosen = [rng.randrange(len(self.pictures)) for _ in range(self.plan.batch)]
        texts = ["" if rng.random() < EMPTY_SHARE else rng.choice(self.pictures[i].captions) for i in chosen]
        hidden = self.hidden[[self.texts.index(text) for text in texts]]
        clean = self.latents[chosen]
        noise, times = chance(clean.shape, len(self.alphas), seed)
        noisy, target = noised(clean, noise, self.alphas, times)
        kept = times >= self.plan.keep_above
        if kept.any():
            with torch.no_grad():
                target[kept] = self.unet(noisy[kept], times[kept], hidden[kept], return_dict=False)[0]
        drawn = functional_call(self.unet, self.merged(), (noisy, times, hidden), {"return_dict": False})[0]
        return mse_loss(drawn, target)

    def train(self, progress: Callable[[int, float], None] = lambda *_: None) -> list[float]:
        """Run the plan; leaves the averaged factors in place and returns the loss of every step."""
        plan = self.plan
        optimizer = torch.optim.AdamW(self.factors, lr=plan.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
        losses = []
        for step in range(plan.steps):
            for group in optimizer.param_groups:
                group["lr"] = plan.rate(step, step / plan.steps)
            optimizer.zero_grad(set_to_none=True)
            loss = self.loss(step)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.factors, 1.0)
            optimizer.step()
            decay = min(plan.ema, (1 + step) / (10 + step))
            for average, factor in zip(self.averages, self.factors, strict=True):
                average.lerp_(factor.detach(), 1 - decay)
            losses.append(loss.item())
            progress(step + 1, losses[-1])
        with torch.no_grad():
            for average, factor in zip(self.averages, self.factors, strict=True):
                factor.copy_(average)
        return losses


def to_bytes(changes: dict[str, Change], metadata: dict[str, str], dtype: torch.dtype = torch.float16) -> bytes:
    """The adapter as a safetensors file in kohya's dialect: `lora_unet_<path with underscores>.<suffix>`."""
    tensors = {
        f"lora_unet_{path.replace('.', '_')}.{suffix}": tensor.detach().to(dtype).contiguous()
        for path, change in changes.items()
        for suffix, tensor in change.tensors().items()
    }
    return save(tensors, metadata=metadata)


def describe(
    plan: AdapterPlan,
    pictures: list[folder.Captioned],
    source: Path,
    *,
    title: str,
    description: str,
    author: str,
    license_: str,
    base: str = "emoji-64",
) -> dict[str, str]:
    """The `ss_*` and `modelspec.*` entries of the file's header, all strings."""
    recipe = RECIPES[plan.algorithm]
    return {
        "ss_network_module": recipe.module,
        "ss_network_dim": str(recipe.rank),
        "ss_network_alpha": str(float(recipe.rank)),
        "ss_network_args": json.dumps(recipe.arguments),
        "ss_base_model_version": base,
        "ss_tag_frequency": json.dumps(folder.tag_frequency(pictures, source)),
        "ss_learning_rate": str(plan.learning_rate),
        "ss_steps": str(plan.steps),
        "ss_batch_size_per_device": str(plan.batch),
        "ss_num_train_images": str(len(pictures)),
        "ss_resolution": "(64, 64)",
        "ss_seed": str(plan.seed),
        "ss_max_timestep": str(plan.keep_above),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.title": title,
        "modelspec.description": description,
        "modelspec.author": author,
        "modelspec.license": license_,
        "modelspec.resolution": "64x64",
        "modelspec.prediction_type": "v",
    }


def write(file: Path, data: bytes) -> None:
    """Write the adapter whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_bytes(data)
    partial.replace(file)
