"""Pictures drawn with a checkpoint as their adapter, as the service draws a generation, and without a queue."""

from typing import Any

import torch
from PIL.Image import Image

from app.shared.wire.adapter import ResolvedAdapter
from app.shared.wire.generation import ResolvedRequest
from lycoris import load
from workers.drawing.applied_stack import AdapterApplier
from workers.drawing.sampling import Sampling
from workers.models.loading import LoadedModel
from workers.training.plan import Sample

NAME = "checkpoint"


class Samples:
    """Draws with a base and nothing but the bytes of an adapter; the weights are pristine before and after."""

    def __init__(self, base: LoadedModel) -> None:
        self._base = base
        self._sampling = Sampling(base)
        self._applier: AdapterApplier | None = None

    def draw(self, adapter: bytes, sample: Sample) -> Image:
        """Return the picture that a generation of that prompt and seed has, all else being the base's own."""
        read = load(adapter)
        use = ResolvedAdapter.model_validate({"ref": NAME, "name": NAME, "version": 1, "sha256": read.sha256})
        request = self._request(sample, use)
        self._applier = self._applier or AdapterApplier(self._base)
        applier = self._applier
        random = torch.random.get_rng_state()
        try:
            applied = applier.plan(request, [read])
            applier.apply(applied, 0)
            return self._sampling.picture(request, sample.seed, lambda taken: applier.apply(applied, taken))
        finally:
            for way in (applier.patcher, applier.bypass, applier.recompute):
                way.restore()
            torch.random.set_rng_state(random)

    def _request(self, sample: Sample, use: ResolvedAdapter) -> ResolvedRequest:
        profile = self._base.profile
        own: dict[str, Any] = {name: getattr(profile, name) for name in ("width", "height", "steps", "guidance_scale")}
        return ResolvedRequest.model_validate(
            own | {"prompt": sample.prompt, "seed": sample.seed, "model": profile.name, "adapters": [use]}
        )
