"""Trains the bundled UNet and text encoder: two processes of one thread each, one flat gradient between them."""

import copy
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from workers.training.emoji import samples
from workers.training.emoji.flat import Flat
from workers.training.emoji.latents import Batch, LatentSet
from workers.training.emoji.loop import LoopPlan
from workers.training.emoji.velocity import chance, noised


@dataclass(frozen=True, kw_only=True)
class Plan(LoopPlan):
    """How the base is trained."""

    batch: int = 32
    warm_up: int = 60
    save_every: int = 400
    grid_every: int = 1200


class Trainer:
    """One process's share of a run, resumable from the newest checkpoint in its folder."""

    def __init__(self, pipe: StableDiffusionPipeline, data: LatentSet, plan: Plan, run: Path) -> None:
        self.pipe, self.data, self.plan, self.run = pipe, data, plan, run
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        self.alphas = pipe.scheduler.alphas_cumprod.float()
        self.flat = Flat([pipe.unet.train(), pipe.text_encoder.train()])
        self.ema = self.flat.value.detach().clone()
        self.optimizer = torch.optim.AdamW(
            [self.flat.value], lr=plan.learning_rate, betas=(0.9, 0.99), weight_decay=plan.weight_decay, fused=True
        )
        self.step = 0
        self.seconds = 0.0
        self.share = 0.0
        self.log: list[dict[str, float]] = []
        if (run / "checkpoint.pt").exists():
            self._resume()

    def train(self, stop_after: int | None = None) -> None:
        """Run to the plan's end, or for `stop_after` steps; checkpoint, log and sample grids go to the run's folder."""
        begun, before, last = time.monotonic(), self.seconds, self.step + (stop_after or 10**12)
        loss_mean = 0.0
        while self.share < 1.0 and self.step < last:
            loss = self._one_step()
            loss_mean = loss if loss_mean == 0.0 else 0.98 * loss_mean + 0.02 * loss
            self.seconds = before + time.monotonic() - begun
            if self.rank == 0 and self.step % 50 == 0:
                self._note(loss_mean)
            if self.step % self.plan.save_every == 0:
                self._pause(grid=self.step % self.plan.grid_every == 0)
        self._pause(grid=True)

    def _one_step(self) -> float:
        plan, grad = self.plan, self.flat.value.grad
        assert grad is not None
        grad.zero_()
        seed = (plan.seed * 1_000_003 + self.step) * self.world + self.rank
        loss = self._loss(self.data.batch(plan.batch, seed), seed)
        loss.backward()
        # The clock of process 0 rules the schedule of all; loss and clock travel in one small tensor.
        shared = torch.tensor([loss.item(), plan.share(self.step + 1, self.seconds) if self.rank == 0 else 0.0])
        if self.world > 1:
            dist.all_reduce(grad)
            dist.all_reduce(shared)
        grad /= self.world
        grad *= min(1.0, 1.0 / (grad.norm().item() + 1e-6))
        for group in self.optimizer.param_groups:
            group["lr"] = plan.rate(self.step, self.share)
        self.optimizer.step()
        self.step += 1
        self.share = shared[1].item()
        self.ema.lerp_(self.flat.value.detach(), 1 - min(plan.ema, (1 + self.step) / (10 + self.step)))
        return shared[0].item() / self.world

    def _loss(self, batch: Batch, seed: int) -> Tensor:
        """Mean squared error of v, timesteps uniform."""
        noise, times = chance(batch.latents.shape, len(self.alphas), seed + 1)
        hidden = self.pipe.text_encoder(batch.tokens)[0]
        noisy, target = noised(batch.latents, noise, self.alphas, times)
        return mse_loss(self.pipe.unet(noisy, times, hidden, return_dict=False)[0], target)

    def _note(self, loss: float) -> None:
        line = {
            "step": self.step,
            "samples": self.step * self.plan.batch * self.world,
            "loss": round(loss, 5),
            "rate": self.plan.rate(self.step, self.share),
            "share": round(self.share, 4),
            "seconds": round(self.seconds, 1),
        }
        with (self.run / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def _pause(self, grid: bool) -> None:
        if self.rank == 0:
            self._save(grid)
        if self.world > 1:
            dist.barrier()

    def _save(self, grid: bool) -> None:
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "share": self.share,
            "model": self.flat.value.detach(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "plan": asdict(self.plan),
        }
        partial = self.run / "checkpoint.partial"
        torch.save(state, partial)
        partial.replace(self.run / "checkpoint.pt")
        raw = self.flat.value.detach().clone()
        self.flat.value.data.copy_(self.ema)
        try:
            export(self.pipe, self.run / "pipe")
            if grid:
                samples.grid(self.pipe, [item.name for item in self.data.items], self.run / f"grid-{self.step:06}.png")
        finally:
            self.flat.value.data.copy_(raw)

    def _resume(self) -> None:
        state = torch.load(self.run / "checkpoint.pt", weights_only=True)
        self.flat.value.data.copy_(state["model"])
        self.ema.copy_(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.share = state["step"], state["seconds"], state["share"]


def export(pipe: StableDiffusionPipeline, folder: Path) -> None:
    """Write the pipeline as a diffusers folder in float16, leaving the one in memory as it is."""
    parts: dict[str, Any] = {
        name: copy.deepcopy(part).half() if isinstance(part, nn.Module) else part
        for name, part in pipe.components.items()
    }
    StableDiffusionPipeline(**parts, requires_safety_checker=False).save_pretrained(folder)
    for config in folder.glob("*/config.json"):
        # Where a part was loaded from is nobody's business, and AutoencoderTiny warns of a key that it writes itself.
        entries = json.loads(config.read_text(encoding="utf-8"))
        entries.pop("_name_or_path", None)
        if config.parent.name == "vae":
            entries.pop("block_out_channels", None)
        config.write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for weights in folder.glob("*/*.safetensors"):
        weights.chmod(0o644)  # safetensors writes files that only their owner can read
