"""What changes from step to step: factors, the optimiser's moments, and their moving average; all in float32."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor

from app.shared.errors import BadRequest, RadiataError
from workers.training.checkpoints import Checkpoint
from workers.training.plan import TrainingPlan
from workers.training.rates import rate

BETAS = (0.9, 0.99)
MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # as torch calls them


class Diverged(RadiataError):
    """A loss or a gradient is not finite."""


class State:
    """The state of a training. highest: its learning rate after the warm-up. undecayed: factors without a decay."""

    def __init__(
        self, factors: Mapping[str, Tensor], plan: TrainingPlan, highest: float, undecayed: Collection[str] = ()
    ) -> None:
        self._factors = dict(factors)
        self._plan = plan
        self._highest = highest
        groups = [
            {"params": some, "weight_decay": decay}
            for decay, some in (
                (plan.weight_decay, [factor for name, factor in self._factors.items() if name not in undecayed]),
                (0.0, [factor for name, factor in self._factors.items() if name in undecayed]),
            )
            if some
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=highest, betas=BETAS)
        every: Any = [*self._factors.values()]
        self._average = None if plan.ema_decay is None else EMAModel(every, decay=plan.ema_decay)
        self.step = 0  # steps made

    @property
    def served(self) -> dict[str, Tensor]:
        """The factors that are exported: their moving average where there is one."""
        if self._average is None:
            return self._factors
        return dict(zip(self._factors, self._average.shadow_params, strict=True))

    def begin(self) -> None:
        """Forget the gradients of the step before; every factor has one from here on."""
        for factor in self._factors.values():
            factor.grad = torch.zeros_like(factor)

    def advance(self) -> None:
        """Take a step along the gradients; raises Diverged where they are not finite, with nothing changed."""
        norm = torch.nn.utils.clip_grad_norm_(self._factors.values(), self._plan.max_grad_norm or float("inf"))
        if not bool(torch.isfinite(norm)):
            raise diverged("gradient", float(norm), self.step + 1)
        for group in self._optimizer.param_groups:
            group["lr"] = rate(self._plan, self._highest, self.step)
        self._optimizer.step()
        if self._average is not None:
            every: Any = [*self._factors.values()]
            self._average.step(every)
        self.step += 1

    def checkpoint(self) -> Checkpoint:
        """Return all of it."""
        return Checkpoint(self.step, self._tensors())

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint; raises BadRequest, by name, for what is missing, surplus or of another shape."""
        self.begin()
        own = self._tensors()
        given = checkpoint.tensors
        wrong = [f"{name} is missing" for name in own if name not in given]
        wrong += [f"{name} is none of this training's" for name in given if name not in own]
        wrong += [
            f"{name} is of shape {tuple(given[name].shape)}, not {tuple(own[name].shape)}"
            for name in own.keys() & given.keys()
            if own[name].shape != given[name].shape
        ]
        if wrong:
            raise BadRequest("checkpoint_not_whole", f"the checkpoint of step {checkpoint.step}: {'; '.join(wrong)}")
        with torch.no_grad():
            for name, factor in self._factors.items():
                factor.copy_(given[f"factor/{name}"])
                # The number of steps stays on the CPU, as the optimiser makes it
                self._optimizer.state[factor] = {
                    moment: given[f"{moment}/{name}"].clone().to("cpu" if moment == "step" else factor.device)
                    for moment in MOMENTS
                }
            if self._average is not None:
                for name, average in zip(self._factors, self._average.shadow_params, strict=True):
                    average.copy_(given[f"average/{name}"])
                self._average.optimization_step = checkpoint.step
        self.step = checkpoint.step

    def _tensors(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, factor in self._factors.items():
            moments = self._optimizer.state.get(factor) or _unmoved(factor)
            found[f"factor/{name}"] = factor
            found |= {f"{moment}/{name}": moments[moment] for moment in MOMENTS}
        if self._average is not None:
            averages = zip(self._factors, self._average.shadow_params, strict=True)
            found |= {f"average/{name}": average for name, average in averages}
        return found


def diverged(what: str, value: float, step: int) -> Diverged:
    """Return the error of a value that is not finite at a step."""
    message = (
        f"the {what} is {value} at step {step}; the steps before are kept: take a lower learning_rate or max_grad_norm"
    )
    return Diverged("training_diverged", message)


def _unmoved(factor: Tensor) -> dict[str, Tensor]:
    return {"exp_avg": torch.zeros_like(factor), "exp_avg_sq": torch.zeros_like(factor), "step": torch.tensor(0.0)}
