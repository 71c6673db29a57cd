"""One picture: a pipeline's call for a request, with a scheduler and a generator of its own."""

from collections.abc import Callable
from typing import Any

import torch
from PIL.Image import Image as Picture

from app.shared.wire.generation import ResolvedRequest
from workers.models.loading import LoadedModel
from workers.models.obeys import call_arguments
from workers.models.samplers import make


class Sampling:
    """Draws single pictures with a base model, whatever adapters are on it."""

    def __init__(self, base: LoadedModel) -> None:
        self._base = base
        self._scheduler = base.pipeline.scheduler  # the folder's own, pristine

    def picture(self, request: ResolvedRequest, seed: int, after_step: Callable[[int], None]) -> Picture:
        """Return the picture of a request from this seed.

        after_step: called with the number of steps taken; what it raises stops the drawing.
        """
        pipeline = self._base.pipeline
        pipeline.scheduler = make(request.sampler, self._scheduler)

        def step_ended(_pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            after_step(step + 1)
            return tensors

        # A CPU generator draws the same latents for every device
        generator = torch.Generator("cpu").manual_seed(seed)
        wanted = call_arguments(request, pipeline, self._base.profile.obeys)
        with torch.inference_mode():
            return pipeline(**wanted, generator=generator, callback_on_step_end=step_ended).images[0]
