"""A solver of flow matching over the noise levels of a base's own scheduler.

A flow-matching pipeline hands its scheduler what decides the noise levels (`sigmas`, a shift `mu` for the size of the
picture), and each family hands over something else. diffusers' DPM++, UniPC and Heun do not take all of it. So the
base's own scheduler goes on making the levels, and the solver takes the steps between them.
"""

from typing import Any

import torch
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from torch import Tensor

NEARLY_NOISE = 1 - 1e-6  # a multistep solver needs the logarithm of the signal's share, which is 0 at level 1


class FlowSampler:
    """What a pipeline asks of a scheduler, answered by two: one makes the noise levels, one takes the steps.

    solver: a fresh scheduler of flow predictions. levels: a fresh scheduler as the base's own, or like it.
    evenly: the levels begin as 1, 1 - 1/n, …, 1/n, whatever the pipeline says; the shift is applied to them.
    """

    def __init__(self, solver: Any, levels: Any, evenly: bool = False) -> None:
        self._solver = solver
        self._levels = levels
        self._evenly = evenly
        self.config = levels.config  # pipelines look up their shifts in it
        self.order: int = solver.order
        self.init_noise_sigma = 1.0

    @property
    def sigmas(self) -> Tensor:
        """Noise levels of the solver: one more than its timesteps."""
        return self._solver.sigmas

    @property
    def timesteps(self) -> Tensor:
        """What the denoiser is called with, once for each call."""
        return self._solver.timesteps

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Any = None,
        mu: float | None = None,
        timesteps: Any = None,
    ) -> None:
        """Make the noise levels as the base's own scheduler does, and begin anew."""
        if self._evenly:
            steps = num_inference_steps or len(sigmas if sigmas is not None else timesteps)
            sigmas, timesteps = [1 - step / steps for step in range(steps)], None
        given = {"sigmas": sigmas, "mu": mu, "timesteps": timesteps}
        self._levels.set_timesteps(
            num_inference_steps, device=device, **{name: value for name, value in given.items() if value is not None}
        )
        levels, times = self._levels.sigmas.cpu().float(), self._levels.timesteps.float()
        self._solver.set_timesteps(len(times), device=device)  # for its memory of earlier steps
        if hasattr(self._solver, "lower_order_nums"):
            levels = levels.clamp(max=NEARLY_NOISE)
        if self.order == 2:  # Heun: the denoiser is called at both ends of each step but the last
            levels = torch.cat([levels[:1], levels[1:-1].repeat_interleave(2), levels[-1:]])
            times = torch.cat([times[:1], times[1:].repeat_interleave(2)])
        self._solver.sigmas, self._solver.timesteps = levels, times

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Say which of the timesteps is the first."""
        self._solver.set_begin_index(begin_index)

    def scale_model_input(self, sample: Tensor, *_: Any) -> Tensor:
        """Return what the denoiser is given: the sample itself."""
        return sample

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, return_dict: bool = True) -> Any:
        """Return the sample after a step, computed in float32, in the dtype of the denoiser's output."""
        (found,) = self._solver.step(model_output.float(), timestep, sample.float(), return_dict=False)
        found = found.to(model_output.dtype)
        return SchedulerOutput(prev_sample=found) if return_dict else (found,)
