"""Trains the codec's decoder on drawings of two vendors; latents stay as they are."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from workers.training.emoji import drawings
from workers.training.emoji.base import Flat
from workers.training.schedule import Run


@dataclass(frozen=True, kw_only=True)
class DecoderPlan(Run):
    """How the decoder is trained."""

    batch: int = 16
    learning_rate: float = 1.5e-3
    constant: float = 1 / 3
    floor: float = 0.01
    ema: float = 0.998
    noise: float = 0.02
    seed: int = 64
    save_every: int = 500


class DecoderTrainer:
    """One process, resumable; `main` drawings make up three quarters of what is seen, `others` the rest.

    The main ones are what the base model will ask the decoder for, always in place; a shifted or mirrored copy
    teaches it other patches.
    """

    def __init__(
        self,
        vae: AutoencoderTiny,
        main: list[np.ndarray],
        others: list[np.ndarray],
        plan: DecoderPlan,
        run: Path,
    ) -> None:
        self.vae, self.main, self.others, self.plan, self.run = vae, main, others, plan, run
        self.flat = Flat([vae.decoder.train()])
        self.ema = self.flat.value.detach().clone()
        self.optimizer = torch.optim.AdamW(
            [self.flat.value], lr=plan.learning_rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True
        )
        self.step, self.seconds, self.share = 0, 0.0, 0.0
        run.mkdir(parents=True, exist_ok=True)
        if (run / "checkpoint.pt").exists():
            self._resume()

    def train(self, stop_after: int | None = None) -> None:
        """Run to the plan's end, or for `stop_after` steps; leaves the averaged weights in the codec."""
        begun, before, last = time.monotonic(), self.seconds, self.step + (stop_after or 10**12)
        while self.share < 1.0 and self.step < last:
            loss = self._one_step()
            self.seconds = before + time.monotonic() - begun
            self.share = self.plan.share(self.step, self.seconds)
            if self.step % 50 == 0:
                line = {
                    "step": self.step,
                    "loss": round(loss, 5),
                    "share": round(self.share, 4),
                    "seconds": self.seconds,
                }
                with (self.run / "log.jsonl").open("a", encoding="utf-8") as log:
                    log.write(json.dumps(line) + "\n")
            if self.step % self.plan.save_every == 0:
                self._save()
        self._save()
        self.flat.value.data.copy_(self.ema)

    def _one_step(self) -> float:
        grad = self.flat.value.grad
        assert grad is not None
        grad.zero_()
        rng = np.random.default_rng([self.plan.seed, self.step])
        pixels = torch.from_numpy(np.stack([self._picture(rng) for _ in range(self.plan.batch)]))
        pixels = pixels.permute(0, 3, 1, 2)  # channels last in memory: a sixth faster
        loss = self._loss(pixels, rng)
        loss.backward()
        grad *= min(1.0, 1.0 / (grad.norm().item() + 1e-6))
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(self.step, self.share)
        self.optimizer.step()
        self.step += 1
        self.ema.lerp_(self.flat.value.detach(), 1 - min(self.plan.ema, (1 + self.step) / (10 + self.step)))
        return loss.item()

    def _loss(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        """L1 + 4·MSE + 0.5·L1 of the gradients, pictures in 0..1."""
        with torch.no_grad():
            latents = self.vae.encode(pixels * 2 - 1, return_dict=False)[0]
            latents += self.plan.noise * torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32))
        drawn = (self.vae.decode(latents, return_dict=False)[0] + 1) / 2
        edges = l1_loss(drawn.diff(dim=2), pixels.diff(dim=2)) + l1_loss(drawn.diff(dim=3), pixels.diff(dim=3))
        return l1_loss(drawn, pixels) + 4 * mse_loss(drawn, pixels) + 0.5 * edges

    def _picture(self, rng: np.random.Generator) -> np.ndarray:
        source = self.main if not self.others or rng.random() < 0.75 else self.others
        drawing = source[rng.integers(len(source))]
        in_place = source is self.main and rng.random() < 0.6
        if not in_place:
            drawing = drawing[:, ::-1] if rng.random() < 0.5 else drawing
            drawing = np.roll(drawing, tuple(rng.integers(-4, 5, 2)), axis=(0, 1))
        ground = (1.0, 1.0, 1.0)
        if rng.random() < 0.35:
            ground = list(drawings.BACKGROUNDS.values())[rng.integers(8)]
            ground = ground if in_place else tuple(rng.random(3))
        return drawings.lay(drawing, ground).astype(np.float32)

    def _save(self) -> None:
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "share": self.share,
            "model": self.flat.value.detach(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
        }
        partial = self.run / "checkpoint.partial"
        torch.save(state, partial)
        partial.replace(self.run / "checkpoint.pt")

    def _resume(self) -> None:
        state = torch.load(self.run / "checkpoint.pt", weights_only=True)
        self.flat.value.data.copy_(state["model"])
        self.ema.copy_(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.share = state["step"], state["seconds"], state["share"]
