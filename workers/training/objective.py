"""What a base is taught: noise on latents, its denoiser called as its pipeline calls it, mean squared error."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.training_utils import compute_snr
from torch import Tensor

from app.shared.errors import BadRequest
from app.shared.training_defaults import FLOW_SCHEME
from workers.models.samplers import flows
from workers.models.trainable import predicts
from workers.training.chance import generator
from workers.training.joining import Unlike, joined
from workers.training.plan import WeightingScheme
from workers.training.recording import Recorded, Recorder, led
from workers.training.times import flow_time, shift_of


@dataclass(frozen=True)
class Example:
    """One picture at one noise level: what the denoiser is given, and what it should answer; both float32.

    time: the scheduler's timestep. weight: of its squared error.
    """

    noisy: Tensor
    target: Tensor
    time: float
    weight: float
    call: Recorded


class Objective:
    """Examples of a base, and their loss. Raises BadRequest for an option that its loss has no use for."""

    def __init__(
        self,
        recorder: Recorder,
        scheduler: Any,
        weighting_scheme: WeightingScheme | None = None,
        snr_gamma: float | None = None,
    ) -> None:
        self._recorder = recorder
        self._scheduler = scheduler
        self._weighting_scheme: WeightingScheme = weighting_scheme or FLOW_SCHEME
        self._snr_gamma = snr_gamma
        self._flow = flows(scheduler)
        self._levels = int(scheduler.config.get("num_train_timesteps", 1000))
        self._predicts = predicts(scheduler)
        if self._flow and snr_gamma is not None:
            raise BadRequest(
                "training_void_option", "snr_gamma is for bases that predict noise; this one matches flows"
            )
        if not self._flow and weighting_scheme is not None:
            raise BadRequest(
                "training_void_option", "weighting_scheme is for flow matching; this base's times are uniform"
            )

    def example(self, clean: Tensor, call: Recorded, *named: object) -> Example:
        """Return a picture's example; named: what it is for, the seed first, which decides noise and time."""
        chance = generator(*named, "noise")
        noise = torch.randn(clean.shape, generator=chance).to(clean.device)
        if self._flow:
            return self._flow_example(clean, noise, call, chance)
        time = int(torch.randint(0, self._levels, (1,), generator=chance))
        return self.diffused(clean, noise, time, call)

    def diffused(self, clean: Tensor, noise: Tensor, time: int, call: Recorded) -> Example:
        """Return the example of a timestep for bases that predict noise, velocity or the picture."""
        signal = float(self._scheduler.alphas_cumprod[time])
        kept, dirt = signal**0.5, (1.0 - signal) ** 0.5
        target = {"epsilon": noise, "v_prediction": kept * noise - dirt * clean, "sample": clean}[self._predicts]
        return Example(kept * clean + dirt * noise, target, float(time), self._weight(time), call)

    def _flow_example(self, clean: Tensor, noise: Tensor, call: Recorded, chance: torch.Generator) -> Example:
        level = flow_time(self._weighting_scheme, shift_of(self._scheduler, call.mu), chance)
        if not self._recorder.convention.time_dtype.is_floating_point:
            level = round(level * self._levels) / self._levels
        return self.flowed(clean, noise, level, call)

    def flowed(self, clean: Tensor, noise: Tensor, level: float, call: Recorded) -> Example:
        """Return the example of a noise level of flow matching, from 0 to 1."""
        return Example((1.0 - level) * clean + level * noise, noise - clean, level * self._levels, 1.0, call)

    def _weight(self, time: int) -> float:
        """Return min-SNR's weight of a timestep (arXiv:2303.09556, section 3.4)."""
        if self._snr_gamma is None:
            return 1.0
        snr = float(compute_snr(self._scheduler, torch.tensor([time])))
        if self._predicts == "sample":
            return min(snr, self._snr_gamma)
        most = min(snr, self._snr_gamma)
        return most / (snr + 1.0) if self._predicts == "v_prediction" else most / snr

    def loss(self, examples: Sequence[Example]) -> Tensor:
        """Return the mean of the examples' losses.

        They share a call where the pipeline could make one for them; captions of unequal length are called one by one,
        so that none is padded and no picture depends on its neighbours.
        """
        losses = [error for group in self._groups(examples) for error in self._errors(*group)]
        return torch.stack(losses).mean()

    def _groups(self, examples: Sequence[Example]) -> list[tuple[list[Example], dict[str, Any]]]:
        joins = self._recorder.convention.joins
        groups: list[tuple[list[Example], dict[str, Any]]] = []
        for example in examples:
            for at, (others, _) in enumerate(groups):
                if joins is None or others[0].noisy.shape != example.noisy.shape:
                    continue
                calls = [one.call.arguments for one in (*others, example)]
                try:
                    groups[at] = [*others, example], joined(joins, [{n: c[n] for n in joins} for c in calls])
                    break
                except Unlike:
                    continue
            else:
                groups.append(([example], dict(example.call.arguments)))
        return groups

    def _errors(self, examples: list[Example], arguments: dict[str, Any]) -> Tensor:
        """Return the loss of each of the examples, which one call has."""
        how = self._recorder.convention
        like = examples[0].call
        given = torch.cat([one.noisy for one in examples]).to(like.sample.dtype)
        given = given.reshape(len(examples), *like.shape)
        times = torch.tensor([how.slope * one.time + how.offset for one in examples], dtype=torch.float64)
        named = {how.sample: list(given) if how.listed else given, how.time: times.to(given.device, how.time_dtype)}
        answer = self._recorder.denoiser(**arguments, **named)[0]
        answer = torch.stack(list(answer)) if isinstance(answer, list | tuple) else answer
        target = torch.cat([one.target for one in examples])
        found = led(answer, target.shape)
        assert found is not None  # the recording has checked it
        errors = (how.sign * found.float() - target).square().flatten(1).mean(1)
        return errors * torch.tensor([one.weight for one in examples]).to(errors.device)
