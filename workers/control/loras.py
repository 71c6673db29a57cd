"""Control LoRAs: adapters of weights that read a picture beside the latents.

Those of FLUX.1 (Canny, Depth) are trained on a base whose first layer has twice the inputs. What they change of the
layer's own inputs is applied as of any adapter, in every way of applying; what they make of the others, the latents of
the picture, a hook adds to what the layer puts out. So no module is exchanged, and a layer of another size never made.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from PIL.Image import Image as Picture
from torch import Tensor, nn

from app.shared.facts import BaseDenoiser
from app.shared.wire.adapter import ResolvedAdapter
from lycoris import Adapter, FurtherInputs, Index, Region, factor_at, further_inputs
from workers.control.conditions import Condition
from workers.drawing.strength_schedule import strength_at

# Class of a denoiser -> its layer that reads the latents, and with a control LoRA those of a picture
READERS = {"FluxTransformer2DModel": "x_embedder"}


def divided(adapter: Adapter, base: BaseDenoiser | None, index: Index) -> tuple[Adapter, FurtherInputs] | None:
    """Return a control LoRA as what of it changes a base's weights and what reads a picture; None for another file.

    index: of the base.
    """
    path = READERS.get(base.made) if base else None
    return further_inputs(adapter, index, base.component, path) if base and path else None


class Divided:
    """Control LoRAs on one base, each divided once."""

    def __init__(self, base: BaseDenoiser | None, index: Index) -> None:
        self._base, self._index = base, index
        self._found: WeakKeyDictionary[Adapter, tuple[Adapter, FurtherInputs] | None] = WeakKeyDictionary()

    def weights(self, adapter: Adapter) -> Adapter:
        """Return what of an adapter changes weights: all of it, but of a control LoRA."""
        found = self._of(adapter)
        return found[0] if found else adapter

    def picture(self, adapter: Adapter) -> FurtherInputs | None:
        """Return what of an adapter reads a picture; None where nothing does."""
        found = self._of(adapter)
        return found[1] if found else None

    def _of(self, adapter: Adapter) -> tuple[Adapter, FurtherInputs] | None:
        if adapter not in self._found:
            self._found[adapter] = divided(adapter, self._base, self._index)
        return self._found[adapter]


@dataclass(frozen=True)
class Reading:
    """A control LoRA of a request, and its picture at the drawing's size."""

    use: ResolvedAdapter
    inputs: FurtherInputs
    picture: Picture

    def strength(self, component: str, path: str, fraction: float) -> float:
        """Return its strength on a layer at a fraction of the denoising."""
        scheduled = strength_at(self.use, fraction)
        strength = self.use.strengths.get(component, self.use.strength) if scheduled is None else scheduled
        return strength * factor_at(path, self.use.blocks)


class Readings:
    """The control LoRAs of one pass of a picture. Nothing of it stays on the base."""

    def __init__(
        self, pipeline: Any, component: str, readings: Sequence[Reading], seed: int, regions: Mapping[str, Region]
    ) -> None:
        """regions: of those with a mask, at the size of the pass, by sha256."""
        denoiser: nn.Module = getattr(pipeline, component)
        self._component, self._path = component, READERS[type(denoiser).__name__]
        self._layer = denoiser.get_submodule(self._path)
        self._regions = regions
        self._readings = sorted(readings, key=lambda one: one.use.sha256)  # one order, whatever that of the list
        self._conditions = [Condition(pipeline, denoiser, one.picture, seed) for one in self._readings]
        self._fraction = 0.0  # of the denoising that is done
        self._read: dict[tuple[int, int], Tensor] = {}
        self._hook: Any = None

    def at(self, step: int, steps: int) -> None:
        """Have the strengths of a step from now on, counted from 0."""
        self._fraction = step / steps
        if self._hook:
            self._put_last()

    @contextmanager
    def on(self) -> Iterator[None]:
        """Have the layer read the pictures until the end (context manager)."""
        try:
            self._put_last()
            yield
        finally:
            self._remove()
            self._read.clear()

    def _put_last(self) -> None:
        """Have the hook behind those of a bypass, which may scale what the layer itself puts out."""
        self._remove()
        self._hook = self._layer.register_forward_hook(self._added)

    def _remove(self) -> None:
        if self._hook:
            self._hook.remove()
        self._hook = None

    def _added(self, _layer: nn.Module, _given: tuple[Any, ...], y: Tensor) -> Tensor:
        """Return what the layer puts out, [rows, tokens, features], with what it makes of the pictures."""
        for at, one in enumerate(self._readings):
            strength = one.strength(self._component, self._path, self._fraction)
            if strength:
                more = self._of_picture(at, y) * strength
                if region := self._regions.get(one.use.sha256):
                    more = more * region.of_tokens(more, self._path)
                # Tokens of pictures that an editing model is shown come behind those of the drawing
                y = y + F.pad(more, (0, 0, 0, y.shape[1] - more.shape[1]))
        return y

    def _of_picture(self, at: int, y: Tensor) -> Tensor:
        """Return what a LoRA makes of its picture, which is the same at every step."""
        key = at, len(y)
        if key not in self._read:
            inputs, latents = self._readings[at].inputs, self._conditions[at].rows(len(y))
            down, up = (factor.to(y.device, torch.float32) for factor in (inputs.down, inputs.up))
            made = F.linear(F.linear(latents.float(), down), up) * inputs.gamma
            self._read[key] = made.to(y.dtype)
        return self._read[key]
