"""How a pipeline calls its denoiser, found by recording it; no line here knows a family.

The text-to-image pipeline that serves is run with a scheduler that leaves the sample as it is and a denoiser that notes
how it is called and answers noise. That gives the form of the sample, the time as a straight line in the scheduler's
timestep, the sign of what is predicted, and every other argument. What is found is checked to the bit; a pipeline that
does something else with them is refused with a sentence.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from app.shared.errors import BadRequest
from app.shared.wire.adapter import denoises
from app.shared.wire.generation import ResolvedRequest
from workers.drawing.sampling import MAIN, install
from workers.models.families import family_of
from workers.models.loading import LoadedModel
from workers.models.obeys import call_arguments
from workers.models.samplers import make
from workers.models.trainable import why_untrainable
from workers.training.joining import Unlike, equal, way_of

PROBED = 4  # steps of the recording that finds the time: three points of a line are a check


@dataclass(frozen=True)
class Convention:
    """How a pipeline calls its denoiser.

    part: name of the denoiser. sample, time: its arguments for them. slope, offset: of the time in the scheduler's
    timestep. sign: of what it answers against what the scheduler is given. listed: the sample is a list, a tensor for
    each picture. joins: how each further argument is joined; None where calls cannot be joined.
    """

    part: str
    sample: str
    time: str
    slope: float
    offset: float
    time_dtype: torch.dtype
    sign: float
    listed: bool
    joins: Mapping[str, Any] | None


@dataclass(frozen=True)
class Recorded:
    """A call of the denoiser for one text at one size.

    sample: what the scheduler has, one picture. shape: of the same as the denoiser is given it. arguments: all but
    sample and time. mu: what the pipeline tells its scheduler of the size, None where nothing.
    """

    sample: Tensor
    shape: tuple[int, ...]
    arguments: Mapping[str, Any]
    mu: float | None


@dataclass
class _Notes:
    calls: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Tensor] = field(default_factory=list)
    steps: list[tuple[float, Tensor, Tensor]] = field(default_factory=list)  # timestep, what is predicted, sample
    mu: float | None = None


class _Enough(BaseException):
    """Ends a pipeline's run once everything is noted; no pipeline catches it."""


class Recorder:
    """Records the pipeline of one base; made once for a training. Raises BadRequest for a base that cannot."""

    def __init__(self, base: LoadedModel) -> None:
        self._base = base
        self._pipeline = base.pipeline
        if why := why_untrainable(self._pipeline, base.components):
            raise _refused(base.profile.name, why)
        own = getattr(self._pipeline, MAIN)
        self.part = next(part for part in base.components if denoises(part))
        self._own = own
        self._names = list(inspect.signature(type(self.denoiser).forward).parameters)[1:]
        self._forms: dict[tuple[int, int], tuple[Tensor, float | None]] = {}  # of a size: its sample, and mu
        self.convention = self._found()

    @property
    def denoiser(self) -> nn.Module:
        """What is trained, and called with what was recorded."""
        return self._base.components[self.part]

    def record(self, text: str, width: int, height: int, *, grad: bool = False) -> Recorded:
        """Return how the denoiser is called for a text at a size, in pixels.

        grad: differentiable in what the text encoders are made of. The first call for a size goes on to the scheduler;
        the later ones end in the denoiser's forward, so that no hook is told of a forward that was none.
        """
        size = (width, height)
        if size not in self._forms:
            notes = self._run("", *size, 1)
            self._forms[size] = notes.steps[0][2], notes.mu
        return self._recorded(self._run(text, *size, 0, grad=grad), *self._forms[size])

    def _recorded(self, notes: _Notes, sample: Tensor, mu: float | None) -> Recorded:
        call = notes.calls[0]
        fixed = {name: value for name, value in call.items() if name not in (self._sample, self._time)}
        given = call[self._sample]
        shape = given[0].shape if isinstance(given, list | tuple) else given.shape[1:]
        return Recorded(sample, tuple(shape), fixed | {"return_dict": False}, mu)

    def _found(self) -> Convention:
        name, profile = self._base.profile.name, self._base.profile
        text, size = "a", (profile.width, profile.height)
        try:
            notes = self._run(text, *size, PROBED, real=True)
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
            raise _refused(name, f"its pipeline cannot be recorded ({type(error).__name__}: {error})") from error
        calls, steps = notes.calls, notes.steps
        if len(calls) != len(steps) or len(steps) < 3:
            raise _refused(name, f"its pipeline calls the denoiser {len(calls)} times in {len(steps)} steps")
        changed = [one for one in calls[0] if not equal(calls[0][one], calls[1].get(one))]
        self._sample = self._names[0]
        if len(changed) != 1 or self._sample in changed:
            raise _refused(name, f"from step to step {', '.join(changed) or 'nothing'} changes, and not the time alone")
        (self._time,) = changed
        times = [torch.as_tensor(call[self._time]) for call in calls]
        if any(time.numel() != 1 for time in times):
            raise _refused(name, "its denoiser takes more than one time for a picture")
        line = _line([(step[0], float(time)) for step, time in zip(steps, times, strict=True)])
        if line is None:
            raise _refused(name, "its denoiser's time is no straight line in the scheduler's")
        given, sample = calls[0][self._sample], steps[0][2]
        listed = isinstance(given, list | tuple)
        plain = given[0] if listed else given
        if not isinstance(plain, Tensor) or not torch.equal(plain.flatten().float(), sample.flatten().float()):
            raise _refused(name, "its denoiser is given something else than the sample")
        sign = _sign(notes.answers[0], steps[0][1])
        if sign is None:
            raise _refused(name, "its scheduler is given something else than what the denoiser predicts")
        joins = self._joins(notes, text, size)
        return Convention(self.part, self._sample, self._time, *line, times[0].dtype, sign, listed, joins)

    def _joins(self, one: _Notes, text: str, size: tuple[int, int]) -> dict[str, Any] | None:
        try:
            two = self._run([text, text], *size, 1).calls[0]
            alone = one.calls[0]
            return {
                name: way_of(value, two.get(name))
                for name, value in alone.items()
                if name not in (self._sample, self._time)
            }
        except (Unlike, TypeError, ValueError, RuntimeError, AttributeError, IndexError):
            return None

    def _run(
        self, text: str | list[str], width: int, height: int, steps: int, *, real: bool = False, grad: bool = False
    ) -> _Notes:
        """Run the pipeline for so many steps and return what was noted; 0 ends it where it calls the denoiser.

        real: the denoiser answers in the shape of its own answer.
        """
        notes = _Notes()
        wanted = self._arguments("" if isinstance(text, list) else text, width, height)
        if isinstance(text, list):
            wanted["prompt"] = text
            wanted = {name: value for name, value in wanted.items() if value != ""}
        with ExitStack() as undo:
            undo.enter_context(self._noting(notes, real, last=not steps))
            undo.enter_context(self._still(notes, steps))
            kind: Any = type(self._pipeline)
            call = inspect.unwrap(kind.__call__) if grad else kind.__call__
            if not grad:
                undo.enter_context(torch.no_grad())
            with suppress(_Enough):
                call(self._pipeline, **wanted, generator=torch.Generator("cpu").manual_seed(0))
        return notes

    def _arguments(self, text: str, width: int, height: int) -> dict[str, Any]:
        profile, family = self._base.profile, family_of(self._pipeline)
        # Without guidance: the text alone, in one call
        guidance = family.negative_over if isfinite(family.negative_over) else 1.0
        request = ResolvedRequest.model_construct(
            **{name: one.get_default(call_default_factory=True) for name, one in ResolvedRequest.model_fields.items()}
            | {"prompt": text, "width": width, "height": height, "steps": PROBED, "guidance_scale": guidance}
            | {"model": profile.name, "adapters": [], "seed": 0}
        )
        return call_arguments(request, self._pipeline, profile.obeys)

    @contextmanager
    def _noting(self, notes: _Notes, real: bool, last: bool) -> Iterator[None]:
        denoiser, noise = self.denoiser, torch.Generator("cpu").manual_seed(1)
        own: Callable[..., Any] = denoiser.forward

        def forward(*inputs: Any, **named: Any) -> Any:
            named = {**dict(zip(self._names, inputs, strict=False)), **named}
            notes.calls.append(_kept(named))
            if last:
                raise _Enough
            given = named[self._names[0]]
            output = own(**named) if real else given
            first = output[0] if real else output
            answer = [_noise(one, noise) for one in first] if isinstance(first, list | tuple) else _noise(first, noise)
            notes.answers.append(torch.stack(answer) if isinstance(answer, list) else answer)
            return (answer,) if not named.get("return_dict", True) else _Answer(answer)

        before = vars(denoiser).get("forward")
        denoiser.forward = forward
        try:
            yield
        finally:
            if before is None:
                del denoiser.forward
            else:
                denoiser.forward = before

    @contextmanager
    def _still(self, notes: _Notes, steps: int) -> Iterator[None]:
        """Give the pipeline a scheduler that leaves the sample as it is."""
        scheduler = make(None, self._own)
        set_timesteps: Callable[..., Any] = scheduler.set_timesteps

        def begun(*inputs: Any, **named: Any) -> None:
            notes.mu = named.get("mu", notes.mu)
            set_timesteps(*inputs, **named)

        def step(output: Any, timestep: Any, sample: Tensor, *_: Any, **__: Any) -> Any:
            notes.steps.append((float(timestep), output, sample))
            if len(notes.steps) == steps:
                raise _Enough
            return (sample, sample)

        def scaled(sample: Tensor, *_: Any, **__: Any) -> Tensor:
            return sample

        begun.__signature__ = inspect.signature(set_timesteps)  # type: ignore[attr-defined]  # pipelines look at it
        step.__signature__ = inspect.signature(scheduler.step)  # type: ignore[attr-defined]
        scheduler.set_timesteps, scheduler.step, scheduler.scale_model_input = begun, step, scaled
        install(self._pipeline, MAIN, scheduler)
        try:
            yield
        finally:
            install(self._pipeline, MAIN, self._own)


class _Answer(tuple[Any, ...]):
    """What a denoiser answers, whether a pipeline asks for the first of it or for its sample."""

    __slots__ = ()

    def __new__(cls, answer: Any) -> "_Answer":
        return super().__new__(cls, (answer,))

    @property
    def sample(self) -> Any:
        return self[0]


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like.device, like.dtype)


def _kept(value: Any) -> Any:
    """Return arguments as they are now: a pipeline may write into its tensors later."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {name: _kept(one) for name, one in value.items()}
    return type(value)(map(_kept, value)) if type(value) in (list, tuple) else value


def _line(points: list[tuple[float, float]]) -> tuple[float, float] | None:
    """Return slope and offset of a line through points, in round numbers; None where it misses one of them."""
    (first, begun), (last, ended) = points[0], points[-1]
    if first == last:
        return None
    slope = float(f"{(ended - begun) / (last - first):.2g}")
    offset = round(begun - slope * first, 1) or 0.0
    largest = max(abs(value) for _, value in points)
    close = all(abs(slope * at + offset - value) <= 0.005 * largest for at, value in points)
    return (slope, offset) if close else None


def _sign(answer: Tensor, predicted: Any) -> float | None:
    """Return 1.0 or -1.0, by which the scheduler is given the answer or the beginning of it; None where it is not."""
    predicted = torch.stack(list(predicted)) if isinstance(predicted, list | tuple) else predicted
    beginning = led(answer, predicted.shape)
    if beginning is None:
        return None
    for sign in (1.0, -1.0):
        if torch.equal(sign * beginning.float(), predicted.float()):
            return sign
    return None


def led(answer: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor | None:
    """Return an answer in the shape of the sample, without what is predicted beside it (a variance, other pictures)."""
    if answer.numel() == torch.Size(shape).numel():
        return answer.reshape(shape)
    if answer.dim() == len(shape) and answer.shape[0] == shape[0] and answer.shape[2:] == shape[2:]:
        return answer[:, : shape[1]]
    return None


def _refused(name: str, why: str) -> BadRequest:
    return BadRequest("base_not_trainable", f"{name!r} cannot be trained: {why}")
