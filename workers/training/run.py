"""A training from a frozen plan to the bytes of an adapter: stopped anywhere and gone on with, the same bytes."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from rq.timeouts import JobTimeoutException

from app.shared.errors import BadRequest, RadiataError
from app.shared.storage import Storage
from app.shared.training_defaults import rank_on, rate_on
from app.shared.wire.training import FileDtype
from lycoris.errors import AdapterError
from lycoris.recompute import SMALL
from lycoris.training.continuing import continue_from
from lycoris.training.dropout import Dropout
from lycoris.training.export import Naming, export
from lycoris.training.plan import Plan
from lycoris.training.plan import plan as planned
from lycoris.training.trainable import TrainableAdapter, begin
from workers.models.loading import LoadedModel
from workers.training.chance import seed_of
from workers.training.checkpoints import Checkpoints
from workers.training.describing import header
from workers.training.examples import Examples
from workers.training.kept import Kept
from workers.training.objective import Objective
from workers.training.pictures import TrainingPicture, fingerprint
from workers.training.plan import Sample, TrainingPlan
from workers.training.progress import Encoded, Event, Note, Pace, Restored, Sampled, Saved
from workers.training.recording import Recorder
from workers.training.samples import Samples
from workers.training.state import State, diverged

VERSION = "1"  # of what the same plan is trained to; a checkpoint of another one is not gone on with
SETTLED = 3  # steps after which every factor has moved: one of a pair begins at zero, and the other waits for it
NAMED = 3  # factors in a sentence


class Canceled(Exception):  # it is no fault
    """The training was canceled; its last whole step is kept."""


@dataclass(frozen=True)
class Trained:
    """A trained adapter: the bytes of its file, the loss of the last step, and what there is to know."""

    data: bytes
    step: int
    loss: float
    notes: tuple[str, ...]


class Training:
    """A training that can be run; making one judges everything that can be known before the first step.

    storage, prefix: where checkpoints are. kept: folder of latents and texts; None keeps them in memory. start: an
    adapter's file to begin from, its weights only. naming, dtype: of the file that is made, as `export` has them.
    Raises BadRequest (PlanRefused of the library among its causes).
    """

    def __init__(
        self,
        plan: TrainingPlan,
        base: LoadedModel,
        pictures: Sequence[TrainingPicture],
        storage: Storage,
        prefix: str = "",
        kept: Path | None = None,
        title: str = "adapter",
        start: bytes | None = None,
        naming: Naming = "kohya",
        dtype: FileDtype = "float32",
    ) -> None:
        self.plan, self._base, self._pictures, self._title = plan, base, tuple(pictures), title
        self._naming: Naming = naming
        self._dtype: torch.dtype = getattr(torch, dtype)
        with _refusals():
            self.choice: Plan = planned(
                plan.algorithm, _rank(plan, base, start), plan.alpha, plan.options, plan.layers, plan.text_encoder
            )
            self.adapter: TrainableAdapter = (
                begin(base.components, self.choice, plan.seed)
                if start is None
                else continue_from(start, base.components, self.choice)
            )
            self._dropout = _dropout(plan)
            if self._dropout:
                self._dropout.check(self.choice)
                self._dropout.over(self.adapter.adapter)
            # What could not be written is refused now, and not after the last step
            export(self.adapter, naming, dtype=self._dtype)
        self._recorder = Recorder(base)
        self._objective = Objective(self._recorder, base.pipeline.scheduler, plan.weighting_scheme, plan.snr_gamma)
        self.examples = Examples(base, plan, self._pictures, self._recorder, self._objective, Kept(kept))
        usual = rate_on(base.profile.pipeline, self.choice.learning_rate)
        self.learning_rate = usual if plan.learning_rate is None else plan.learning_rate
        self._state = State(self.adapter.factors, plan, self.learning_rate, self.adapter.undecayed)
        of = {
            "plan": plan.fingerprint(),
            "pictures": fingerprint(self._pictures),
            "base": base.profile.fingerprint,
            "dtype": base.profile.dtype,
            "start": sha256(start).hexdigest() if start else "",
            "version": VERSION,
            **self._usual(),
        }
        self._checkpoints = Checkpoints(storage, prefix, of)

    def _usual(self) -> dict[str, str]:
        """Return the numbers that a plan leaves open, where they are usual on the base and not the algorithm's own.

        What is usual may change with a version; a checkpoint of other numbers is not gone on with.
        """
        plan, facts = self.plan, self.choice.facts
        own = None if self.choice.over.over_rank else facts.learning_rate  # it follows the rank, and is told always
        found = (
            ("learning_rate", plan.learning_rate, self.learning_rate, own),
            ("rank", plan.rank, self.choice.rank, facts.default_rank),
        )
        return {name: str(used) for name, asked, used, own in found if asked is None and used != own}

    def run(self, told: Callable[[Event], None], canceled: Callable[[], bool] = lambda: False) -> Trained:
        """Go on from the newest checkpoint to the plan's last step, and return the adapter.

        told: called with everything that happens. canceled: asked before every forward. Raises Canceled within a step,
        Diverged where a loss or gradient is not finite, both with the last whole step published, and what Storage
        raises, with the checkpoint before.
        """
        plan, state = self.plan, self._state
        newest = self._checkpoints.newest()
        if newest and newest.step > plan.steps:
            message = f"the checkpoint is of step {newest.step}, after the last of the {plan.steps} that are asked for"
            raise BadRequest("training_past_its_end", message)
        if newest:
            state.restore(newest)
            told(Restored(newest.step))
            told(Note(f"going on after step {newest.step}"))
        for note in self.adapter.notes:
            told(Note(note))
        self._prepare(told, canceled)
        samples = Samples(self._base) if plan.samples else None
        loss, saved, pace = float("nan"), state.step, Pace()
        with _deterministic():
            if samples and newest and self._sampled(state.step):  # it may have died before it drew them
                self._draw(samples, told, canceled)
            while state.step < plan.steps:
                pause = self._pause(state.step)
                with self._learning():
                    while state.step < pause:
                        pace.begin()
                        try:
                            loss, seen = self._step(canceled)
                        except (Canceled, RadiataError):
                            if state.step > saved:
                                self._save(told)
                            raise
                        told(pace.made(state.step, plan.steps, loss, seen))
                        if state.step == SETTLED and not (plan.module_dropout or plan.rank_dropout):
                            # What is left out has not moved
                            self._check_moved(told)
                        if state.step % plan.checkpoint_every == 0 or state.step == plan.steps:
                            self._save(told)
                            saved = state.step
                if samples and self._sampled(state.step):
                    self._draw(samples, told, canceled)
        return Trained(self.exported(), state.step, loss, self.adapter.notes)

    def _prepare(self, told: Callable[[Event], None], canceled: Callable[[], bool]) -> None:
        def encoded(done: int, of: int) -> None:
            if canceled():
                raise Canceled
            told(Encoded(done, of))

        self.examples.prepare(encoded)

    @property
    def step(self) -> int:
        """How many steps are made."""
        return self._state.step

    def exported(self) -> bytes:
        """Return the file of the adapter as it is now; raises BadRequest for numbers that its dtype does not hold."""
        entries = header(self.plan, self._base, self._pictures, self.learning_rate, self._title)
        with _refusals():
            return export(self.adapter, self._naming, entries, self._state.served, self._dtype)

    def pictures_seen(self) -> int:
        """Return how many pictures the plan's steps show."""
        return self.examples.batches.seen(self.plan.steps * self.plan.gradient_accumulation_steps)

    def tried(self) -> float:
        """Return how many seconds the gradients of the first step take; nothing is changed by it."""
        self.examples.prepare()
        with _deterministic(), self._learning():
            begun = time.perf_counter()
            self._gradients(lambda: False)
            self._state.begin()
            return time.perf_counter() - begun

    def _step(self, canceled: Callable[[], bool]) -> tuple[float, int]:
        """Make a step of the optimiser; return its loss, and how many pictures it had."""
        found = self._gradients(canceled)
        self._state.advance()
        return found

    def _gradients(self, canceled: Callable[[], bool]) -> tuple[float, int]:
        plan, state = self.plan, self._state
        torch.manual_seed(seed_of(plan.seed, "step", state.step))  # whatever draws from torch's own
        first = state.step * plan.gradient_accumulation_steps
        order = range(first, first + plan.gradient_accumulation_steps)
        shown = sum(len(self.examples.batches.batch(index)) for index in order)
        state.begin()
        total = 0.0
        for index in order:
            if canceled():
                raise Canceled
            if self._dropout:
                self._dropout.step = index  # decides what this forward leaves out, and its gradients
            examples = self.examples.batch(index)
            loss = self._objective.loss(examples) * (len(examples) / shown)
            value = float(loss.detach())
            if not value - value == 0:
                raise diverged("loss", value, state.step + 1)
            loss.backward()
            total += value
        return total, shown

    @contextmanager
    def _learning(self) -> Iterator[None]:
        """Have the adapter on the model, and the denoiser's blocks computed anew in the backward pass if so planned.

        Those of a small denoiser are not: it would take half as long again, and spare some MiB.
        """
        denoiser, wanted = self._recorder.denoiser, self.plan.gradient_checkpointing
        large = sum(weight.numel() for weight in denoiser.parameters()) * torch.float32.itemsize > SMALL
        can = wanted and large and getattr(denoiser, "_supports_gradient_checkpointing", False)
        with self.adapter.applied(self._base.components, wanted, self._dropout):
            if can:
                denoiser.enable_gradient_checkpointing()  # type: ignore[operator]
            try:
                yield
            finally:
                if can:
                    denoiser.disable_gradient_checkpointing()  # type: ignore[operator]

    def _check_moved(self, told: Callable[[Event], None]) -> None:
        """Tell which factors no loss reaches; raises BadRequest where none of a component has moved."""
        still = [name for name, factor in self.adapter.factors.items() if not bool(factor.grad.any())]  # type: ignore[union-attr]
        if not still:
            return
        alive = {name.split(".")[0] for name in self.adapter.factors.keys() - set(still)}
        if dead := sorted({name.split(".")[0] for name in still} - alive):
            message = f"nothing of {', '.join(dead)} has a gradient after {SETTLED} steps: it would not be trained"
            raise BadRequest("training_without_gradient", message)
        listed = ", ".join(still[:NAMED]) + (", …" if len(still) > NAMED else "")
        told(Note(f"{len(still)} factors have no influence on what is predicted: {listed}"))

    def _save(self, told: Callable[[Event], None]) -> None:
        told(Saved(self._state.step, self._checkpoints.write(self._state.checkpoint())))

    def _sampled(self, step: int) -> bool:
        every = self.plan.sample_every or self.plan.checkpoint_every
        return step % every == 0 or step == self.plan.steps

    def _pause(self, step: int) -> int:
        """Return the step before which nothing but steps is done."""
        if not self.plan.samples:
            return self.plan.steps
        every = self.plan.sample_every or self.plan.checkpoint_every
        return min((step // every + 1) * every, self.plan.steps)

    def _draw(self, samples: Samples, told: Callable[[Event], None], canceled: Callable[[], bool]) -> None:
        adapter = self.exported()
        for sample in self.plan.samples:
            if canceled():
                raise Canceled
            told(self._sample(samples, adapter, sample))

    def _sample(self, samples: Samples, adapter: bytes, sample: Sample) -> Sampled:
        try:
            return Sampled(self._state.step, sample, samples.draw(adapter, sample))
        except JobTimeoutException:  # the time of all of it is over
            raise
        except Exception as error:  # noqa: BLE001  # a sample that fails does not end a training
            return Sampled(self._state.step, sample, None, f"{type(error).__name__}: {error}")


def _rank(plan: TrainingPlan, base: LoadedModel, start: bytes | None) -> int | None:
    """Return the rank that is asked for, or usual on the base; None for the algorithm's own, or what a start has."""
    return rank_on(base.profile.pipeline, plan.algorithm, None) if plan.rank is None and start is None else plan.rank


def _dropout(plan: TrainingPlan) -> Dropout | None:
    parts = (plan.output_dropout, plan.rank_dropout, plan.module_dropout)
    return Dropout(plan.seed, *parts) if any(parts) else None


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what the library refuses into an error that a caller can be told."""
    try:
        yield
    except AdapterError as error:
        raise BadRequest("training_refused", str(error)) from error


@contextmanager
def _deterministic() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
