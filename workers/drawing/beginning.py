"""A text-to-image pipeline begins from a picture: its own noise, fewer steps, and what a mask keeps, held in each.

So there is no second pipeline, and every argument and adapter is as without a picture. The noise is the one that the
same seed gives without a picture. It draws what diffusers' image to image draws, where that has the family, but for the
draw from the codec's posterior, of which this takes the mode.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from workers.models.latents import mixed, shaped, times

OWN = frozenset(("_inner", "_start", "_begun", "set_timesteps"))  # attributes of a `LateScheduler` itself


class Beginning:
    """What one picture begins from.

    latents: of the picture, as `encoded` gives them. skipped: steps that are not drawn. anew: whether nothing of the
    picture is left where it is drawn. mask: [1, 1, rows, columns] in pixels, from 0 to 1: for how large a part of the
    steps, the last one, each place is drawn; None draws everything in all of them.
    """

    def __init__(self, pipeline: Any, latents: Tensor, skipped: int, *, anew: bool, mask: Tensor | None = None) -> None:
        self._pipeline = pipeline
        self.latents = latents
        self._skipped = skipped
        self._anew = anew
        self._mix, self._times = mixed(pipeline), times(pipeline)
        self._mask = mask
        self._scheduler: LateScheduler | None = None
        self._sample: Tensor | None = None  # what the pipeline begins with: the very tensor that it holds
        self._noise: Tensor = latents
        self._clean: Tensor = latents
        self._drawn: Tensor | None = None  # the mask in the shape of the latents

    def late(self, scheduler: Any) -> "LateScheduler":
        """Return a scheduler that leaves out the steps that are not drawn."""
        self._scheduler = LateScheduler(scheduler, self._skipped, self._begin)
        return self._scheduler

    def prepared(self, prepare: Callable[..., Any]) -> Callable[..., Any]:
        """Return a pipeline's `prepare_latents` with the picture in what it returns."""

        @wraps(prepare)
        def with_picture(*inputs: Any, **named: Any) -> Any:
            found = prepare(*inputs, **named)
            sample = found[0] if isinstance(found, tuple) else found
            self._sample, self._noise = sample, sample.clone()
            self._clean = shaped(self._pipeline, self.latents, self._noise)
            if self._mask is not None:
                cells = adaptive_max_pool2d(self._mask, self.latents.shape[-2:])
                cells = cells.reshape(1, *(1,) * (self.latents.dim() - 3), *cells.shape[-2:])
                self._drawn = shaped(self._pipeline, cells.expand_as(self.latents), self._noise.float())
            self._begin()
            return found

        return with_picture

    def check(self, sample: Tensor) -> None:
        """Raise RuntimeError where a pipeline's first step is from something else than what was prepared."""
        if self._sample is None or not torch.equal(sample, (self._sample * self._times).to(sample.dtype)):
            raise RuntimeError(f"{type(self._pipeline).__name__} does not begin with what it prepared")

    def held(self, output: Any, made: int, of: int) -> Any:
        """Return what a scheduler's step returned, with the picture where it is kept; made: steps, of all drawn."""
        if self._drawn is None:
            return output
        kept = self._drawn < (of - made + 1) / of
        sample = torch.where(kept, self._at(made, of).to(output[0].dtype), output[0])
        if not isinstance(output, tuple):
            output.prev_sample = sample
            return output
        # The last of a consistency model's steps is taken from the second
        return (sample,) * len(output) if made == of else (sample, *output[1:])

    def _begin(self) -> None:
        """Mix picture and noise in place, once there are both: some pipelines make the noise first, some its levels."""
        if self._sample is not None and self._scheduler is not None and self._scheduler.begun:
            self._sample.copy_(self._at(0, len(self._scheduler.timesteps)) / self._times)

    def _at(self, made: int, of: int) -> Tensor:
        """Return the picture at the noise level that it has before a step."""
        assert self._scheduler is not None
        inner, start = self._scheduler.inner, self._scheduler.start
        if made == of:
            return self._clean * self._times
        if not made and self._anew:
            return self._noise * getattr(inner, "init_noise_sigma", 1.0) * self._times
        return self._mix(inner, self._clean, self._noise, start + made) * self._times


class LateScheduler:
    """A scheduler without its first steps.

    It alone is told where to begin: a solver of several steps counts from the first of all.
    """

    init_noise_sigma = 1.0  # pipelines scale their noise by it; `Beginning` does that itself

    def __init__(self, inner: Any, skipped: int, begun: Callable[[], None]) -> None:
        set_timesteps: Callable[..., None] = inner.set_timesteps

        @wraps(set_timesteps)  # a pipeline looks at what it takes
        def late(*inputs: Any, **named: Any) -> None:
            set_timesteps(*inputs, **named)
            self._start = skipped * inner.order
            if hasattr(inner, "set_begin_index"):  # one of single steps asks for the timestep alone
                inner.set_begin_index(self._start)
            begun()

        self._inner = inner
        self._start: int | None = None
        self.set_timesteps = late

    @property
    def __class__(self) -> type:  # type: ignore[override]
        """The class that pipelines ask for."""
        return type(self._inner)

    @property
    def inner(self) -> Any:
        """The scheduler itself."""
        return self._inner

    @property
    def begun(self) -> bool:
        """Whether its timesteps are made."""
        return self._start is not None

    @property
    def start(self) -> int:
        """The first of the timesteps that is drawn."""
        return self._start or 0

    @property
    def timesteps(self) -> Tensor:
        """The timesteps that are drawn."""
        return self._inner.timesteps[self.start :]

    @property
    def sigmas(self) -> Tensor:
        """The noise levels of the timesteps that are drawn, for pipelines that count steps themselves."""
        return self._inner.sigmas[self.start :]

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Say which of the timesteps that are drawn is the first."""
        self._inner.set_begin_index(self.start + begin_index)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self._inner, name, value)
