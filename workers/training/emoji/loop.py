"""A resumable training loop over the parameters of some modules: the loss is a function of the step alone."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from workers.training.emoji.flat import Flat
from workers.training.emoji.schedule import Run


@dataclass(frozen=True, kw_only=True)
class LoopPlan(Run):
    """How long and how fast, and how often the run is saved."""

    batch: int = 16
    warm_up: int = 30
    weight_decay: float = 0.01
    ema: float = 0.998
    seed: int = 64
    save_every: int = 200


class Loop:
    """One process, one thread; a run that was stopped goes on from the checkpoint in its folder, to the same bits."""

    def __init__(self, modules: list[nn.Module], loss: Callable[[int], Tensor], plan: LoopPlan, run: Path) -> None:
        self.loss, self.plan, self.run = loss, plan, run
        self.flat = Flat(modules)
        self.ema = self.flat.value.detach().clone()
        self.optimizer = torch.optim.AdamW(
            [self.flat.value], lr=plan.learning_rate, betas=(0.9, 0.99), weight_decay=plan.weight_decay, fused=True
        )
        self.step, self.seconds, self.share = 0, 0.0, 0.0
        run.mkdir(parents=True, exist_ok=True)
        if (run / "checkpoint.pt").exists():
            self._resume()

    def train(self, stop_after: int | None = None) -> None:
        """Run to the plan's end, or for `stop_after` steps; leaves the averaged weights in the modules."""
        begun, before, last = time.monotonic(), self.seconds, self.step + (stop_after or 10**12)
        mean = 0.0
        while self.share < 1.0 and self.step < last:
            loss = self._one_step()
            mean = loss if mean == 0.0 else 0.98 * mean + 0.02 * loss
            self.seconds = before + time.monotonic() - begun
            self.share = self.plan.share(self.step, self.seconds)
            if self.step % 50 == 0:
                self._note(mean)
            if self.step % self.plan.save_every == 0:
                self._save()
        self._save()
        self.flat.value.data.copy_(self.ema)

    def _one_step(self) -> float:
        grad = self.flat.value.grad
        assert grad is not None
        grad.zero_()
        loss = self.loss(self.step)
        loss.backward()
        grad *= min(1.0, 1.0 / (grad.norm().item() + 1e-6))
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(self.step, self.share)
        self.optimizer.step()
        self.step += 1
        self.ema.lerp_(self.flat.value.detach(), 1 - min(self.plan.ema, (1 + self.step) / (10 + self.step)))
        return loss.item()

    def _note(self, loss: float) -> None:
        line = {
            "step": self.step,
            "loss": round(loss, 5),
            "share": round(self.share, 4),
            "seconds": round(self.seconds, 1),
        }
        with (self.run / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def _save(self) -> None:
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

    def _resume(self) -> None:
        state = torch.load(self.run / "checkpoint.pt", weights_only=True)
        self.flat.value.data.copy_(state["model"])
        self.ema.copy_(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.share = state["step"], state["seconds"], state["share"]
