"""Control nets at work: a hook on the denoiser calls them with what it is called with, and adds what they compute.

That serves every pipeline of a family, image to image and inpainting too, with the classes that diffusers has for
control and without; it takes no second pipeline, and no object of the base is exchanged. Where a net has no strength it
is not called, and where none has, the denoiser's call is left as it is: the picture is the plain one to the bit.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image as Picture
from torch import Tensor, nn

from app.shared.wire.adapter import ResolvedAdapter
from workers.control.conditions import Condition
from workers.control.nets import Net
from workers.control.residuals import ADDED, Residuals, arguments, summed
from workers.drawing.strength_schedule import strength_at

NAMES = {"ref", "name", "version"}  # which decide nothing


@dataclass(frozen=True)
class Control:
    """A control net of a request, and its picture at the drawing's size."""

    use: ResolvedAdapter
    net: Net
    picture: Picture

    def strength(self, fraction: float) -> float:
        """Return its strength at a fraction of the denoising."""
        scheduled = strength_at(self.use, fraction)
        return self.use.strength if scheduled is None else scheduled

    @property
    def mode(self) -> int | None:
        """The number of its mode; None without one."""
        return self.net.modes.index(self.use.mode) if self.use.mode else None


class Controls:
    """The control nets of one pass of a picture. Nothing of it stays on the base."""

    def __init__(self, pipeline: Any, component: str, controls: Sequence[Control], seed: int) -> None:
        self._denoiser: nn.Module = getattr(pipeline, component)
        self._adding = ADDED[type(self._denoiser).__name__]
        self._signature = inspect.signature(self._denoiser.forward)
        # One order, whatever that of the list
        self._controls = sorted(controls, key=lambda one: (one.use.sha256, one.use.model_dump_json(exclude=NAMES)))
        self._conditions = [Condition(pipeline, one.net.module, one.picture, seed) for one in self._controls]
        self._fraction = 0.0  # of the denoising that is done
        self._last: tuple[Tensor, Any, Residuals] | None = None

    def at(self, step: int, steps: int) -> None:
        """Have the strengths of a step from now on, counted from 0."""
        self._fraction, self._last = step / steps, None

    @contextmanager
    def on(self) -> Iterator[None]:
        """Control the denoiser until the end (context manager)."""
        hook = self._denoiser.register_forward_pre_hook(self._called, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()
            self._last = None

    def _called(
        self, _: nn.Module, given: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        strengths = [one.strength(self._fraction) for one in self._controls]
        if not any(strengths):
            return None
        call = self._signature.bind(*given, **named).arguments
        latents, timestep = call[self._adding.latents], call[self._adding.timestep]
        # With true guidance a denoiser is called twice with the same latents; a net reads the prompt alone, as
        # diffusers' pipelines have it
        if not self._last or self._last[0] is not latents or not _same(self._last[1], timestep):
            parts = [
                self._adding.residuals(
                    one.net.module, self._denoiser, call, condition.rows(len(latents)), strength, one.mode
                )
                for one, condition, strength in zip(self._controls, self._conditions, strengths, strict=True)
                if strength
            ]
            self._last = latents, timestep, summed(parts)
        return given, named | arguments(self._last[2])


def _same(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, Tensor) and isinstance(other, Tensor) else one == other
