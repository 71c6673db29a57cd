"""The picture that a scheduler's step steers for, read off the step: noise taken away at once, and nothing changed."""

from typing import Any

from torch import Tensor

from workers.models.flow_sampler import FlowSampler
from workers.models.samplers import flows


def predicted(scheduler: Any, timestep: Any, output: Tensor, sample: Tensor, made: Any) -> Tensor | None:
    """Return x₀ as it is predicted, in the shape of the latents; None where the scheduler does not tell.

    output: of the model, with guidance; sample: before the step; made: what the step returned.
    """
    scheduler = getattr(scheduler, "_inner", scheduler)  # of a `LateScheduler`
    if isinstance(made, tuple) and len(made) > 1:
        return made[1] if isinstance(made[1], Tensor) and made[1].shape == sample.shape else None
    for name in ("pred_original_sample", "denoised"):
        if isinstance(found := getattr(made, name, None), Tensor):
            return found
    config = scheduler.config
    kept = getattr(scheduler, "model_outputs", None)
    if kept and isinstance(kept[-1], Tensor):  # multistep samplers keep what they have converted
        converted = str(config.get("algorithm_type", "")).endswith("++") or config.get("predict_x0")
        return kept[-1] if converted else None
    if isinstance(scheduler, FlowSampler) or flows(scheduler):  # x₀ = x − σ v
        at = int((scheduler.timesteps.cpu() == float(timestep)).nonzero()[0])
        return sample.float() - float(scheduler.sigmas[at]) * output.float()
    if hasattr(scheduler, "alphas_cumprod"):
        kept_share = float(scheduler.alphas_cumprod[int(timestep)])
        signal, noise = kept_share**0.5, (1 - kept_share) ** 0.5
        if config.get("prediction_type") == "v_prediction":
            return signal * sample.float() - noise * output.float()
        if config.get("prediction_type") == "epsilon":
            return (sample.float() - noise * output.float()) / signal
    return None
