"""A training of the service: taken off the queue, run in a process of its own, and its adapter given its version."""

import os
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from hashlib import sha256
from statistics import fmean

import structlog
from redis import Redis
from redis.exceptions import RedisError
from rq.timeouts import JobTimeoutException

from app.shared import alarm
from app.shared.catalog import file_key
from app.shared.connection import connect
from app.shared.datasets import Datasets
from app.shared.discretion import hide, texts_of_training
from app.shared.disposal import aside
from app.shared.errors import Moderated, NoRoom, NotFound, RadiataError, Unavailable
from app.shared.exit_with_parent import watch_parent
from app.shared.job import SERIALIZER, KnownQueue
from app.shared.lifecycle import id_for
from app.shared.moderation import Moderation
from app.shared.pictures import Pictures
from app.shared.settings import MIB, Settings
from app.shared.signing import Signer
from app.shared.storage import Storage
from app.shared.training_keys import checkpoint_folder, folder_of, sample_key
from app.shared.training_records import picture_of
from app.shared.trainings import Over, Trainings
from app.shared.uploads import Uploads
from app.shared.webhooks import webhook_secret
from app.shared.wire.training import ResolvedTraining, TrainedAdapter, TrainingProgress
from app.shared.wire.training import Training as Accepted
from app.shared.wire.upload import Upload, UploadStatus
from workers import tasks
from workers.dispatch.performing import perform
from workers.drawing.encoding import encode
from workers.models.loading import LoadedModel, load
from workers.patience import Patience, PatientStorage
from workers.training.kept import Kept
from workers.training.pictures import of_dataset
from workers.training.plan import Sample, TrainingPlan
from workers.training.progress import Encoded, Event, Note, Progress, Restored, Sampled, Saved
from workers.training.run import Canceled, Training
from workers.training.wording import SEPARATOR

log = structlog.get_logger()

NICE = 10  # who waits for a picture goes before who waits for an adapter
TOLD_S = 0.25  # between two lines of progress
RECENT = 20  # steps of which the mean loss is told
LOOK_S = 0.2  # between two looks for a verdict
ASIDE = (
    "name",
    "description",
    "dataset",
    "trigger",
    "default_caption",
    "naming",
    "dtype",
    "base",
    "model",
    "start",
    "continues",
)
KEPT = "latents"  # folder of latents and texts, below the data folder


class Stopped(Exception):  # it is no fault
    """Somebody else has ended the training."""


class Leaving(Exception):  # it is no fault
    """This process is to end before the training."""


def serve(queue: str, job_id: str, execution_id: str, worker_name: str, settings: Settings) -> None:
    """Do one job of the training worker of that name."""
    watch_parent()
    os.nice(NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker decides when to stop
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
    redis = connect(settings, patient=True)
    trainer = Trainer(Storage(settings.store_url), redis, settings)
    signal.signal(signal.SIGTERM, lambda *_: trainer.leave())
    tasks.hold_trainer(trainer)
    source = KnownQueue(queue, connection=redis, serializer=SERIALIZER)
    perform(job_id, execution_id, source, worker_name, redis, settings)


class Trainer:
    """Trains accepted trainings, and ends each; one that was interrupted goes on from its last checkpoint."""

    def __init__(self, storage: Storage, redis: Redis, settings: Settings) -> None:
        self._settings = settings
        self._patience = Patience(settings.storage_patience_s)
        self._storage = PatientStorage(storage, self._patience)
        self._trainings = Trainings(self._storage, redis, settings)
        self._uploads = Uploads(self._storage, redis, settings)
        self._moderation = Moderation(settings, partial(webhook_secret, Signer(storage), settings))
        self._leaving = self._loading = False
        self._over: Over = ""  # by storage, as of the last checkpoint

    def leave(self) -> None:
        """Save a checkpoint after the step that is being made, and put the training back.

        Raises Leaving where the model is being loaded, for which there is nothing to save: called in its thread.
        """
        self._leaving = True
        if self._loading:
            raise Leaving

    def run(self, training_id: str) -> None:
        """Train and end it; one that has ended meanwhile is left alone.

        Raises Unavailable where storage is away for too long or this process is to leave, and RedisError; neither
        counts as a try.
        """
        try:
            with suppress(Stopped), self._patience.during(lambda: self._look(training_id)):
                self._run(training_id)
        except Leaving:
            self._trainings.put_back(training_id)
            raise Unavailable("worker_stopped", "the worker is stopped; another goes on from here") from None
        self._trainings.remove_again(training_id)

    def _look(self, training_id: str) -> None:
        if self._leaving:
            raise Leaving
        if "ended" in (self._trainings.over(training_id), self._over):
            raise Stopped

    def _run(self, training_id: str) -> None:
        training = self._trainings.start(training_id)
        if training is None:
            return
        hide(texts_of_training(training.request))
        try:
            self._trainings.courses.reserve(training.id)
            self._end(training, *self._trained(training))
        except NoRoom as error:  # storage was waited for already
            self._fail_without_room(training, error)
        except (Stopped, Leaving, RedisError, Unavailable):
            raise
        except JobTimeoutException:
            seconds = self._settings.training_timeout_s
            message = f"training took longer than RADIATA_TRAINING_TIMEOUT_S ({seconds} s) allows; resume it to go on"
            self._trainings.fail(training, "timed_out", message)
        except RadiataError as error:
            self._trainings.fail(training, error.code, error.message)
        except Exception as error:  # whatever it is, trying again would end the same
            log.exception("training_error", training=training_id)
            self._trainings.fail(training, "training_error", f"{type(error).__name__}: {error}")

    def _fail_without_room(self, training: Accepted, error: NoRoom) -> None:
        """End it though its end has no room either: in what was reserved for it, or in place of adapters and samples.

        Raises NoRoom where nothing of these is left: it is tried again, as when storage is away.
        """
        message = f"{error.message}; then resume it: its checkpoints are kept"
        room = self._trainings.courses.room_made(training.id)
        while True:
            try:
                self._trainings.fail(training, error.code, message)
                return
            except NoRoom:
                if next(room, None) is None:
                    raise

    def _trained(self, training: Accepted) -> tuple[int, bytes]:
        """Return after how many steps it was done or stopped, and the file of the adapter."""
        request = training.request
        base = self._loaded(training)
        if base.profile.fingerprint != request.base:
            message = f"model {request.model!r} is another base than when this was accepted; ask again to train on it"
            raise RadiataError("base_changed", message)
        self._take_over(training)
        kept = self._settings.data_dir / KEPT
        Kept(kept).shrink(self._settings.training_cache_mb * MIB)
        dataset = Datasets(self._storage, training.owner).get(request.dataset)
        hide([*texts_of_training(request), *(one.caption for one in dataset.pictures)])
        run = Training(
            plan_of(request),
            base,
            of_dataset(dataset, Pictures(self._storage), request.default_caption, request.trigger),
            self._storage,
            folder_of(training.id),
            kept,
            request.name,
            start=self._begun_from(request.start),
            naming=request.naming,
            dtype=request.dtype,
        )
        teller = _Teller(self._trainings, self._storage, training, run.exported, self._ask_storage, self._asked)
        try:
            made = run.run(teller, lambda: self._is_over(training.id))
        except Canceled:
            self._look(training.id)
            return run.step, run.exported()
        return made.step, made.data

    def _loaded(self, training: Accepted) -> LoadedModel:
        try:
            self._loading = True
            self._look(training.id)  # it may have been told to leave just before
            return load(training.request.model, self._settings)
        finally:
            self._loading = False
            if self._leaving:  # what was raised may have been caught by a library, or have become another error
                raise Leaving

    def _asked(self, training: Accepted, step: int, prompt: str, data: bytes) -> None:
        """Ask the operator's hook about a sample; raises Moderated, and ModerationAway."""
        asked = training.id, training.owner, step, "png", data
        self._patience.waits(partial(self._moderation.picture, *asked, prompt=prompt))

    def _begun_from(self, ref: str | None) -> bytes | None:
        """Return the adapter file that a training begins from, as it was resolved."""
        if ref is None:
            return None
        key = file_key(ref.removeprefix("sha256:"))
        data = self._storage.get(key) or aside(self._storage, key)
        if data is None:
            raise NotFound("adapter_unknown", f"the adapter that this was to start from is gone: {ref}")
        return data

    def _is_over(self, training_id: str) -> bool:
        return self._leaving or bool(self._over or self._trainings.over(training_id))

    def _ask_storage(self, training_id: str) -> None:
        """Look whether somebody has ended it, or wants that, where Redis may have been emptied since."""
        self._over = self._trainings.over(training_id, certainly=True)

    def _take_over(self, training: Accepted) -> None:
        """Have the checkpoints of the training that this one continues, unless it has its own."""
        if self._trainings.checkpoints(training.id):
            return
        before = self._trainings.learned(training.id)
        if before is None:
            return
        self._trainings.courses.taken_over(before, training.id, self._trainings.checkpoints(before)[-1])
        # The newest first: with one of its own, a training that was killed here does not ask for the others
        for key in sorted(self._storage.keys(checkpoint_folder(folder_of(before))), reverse=True):
            self._storage.copy(key, key.replace(before, training.id))

    def _end(self, training: Accepted, step: int, data: bytes) -> None:
        """Give the adapter its version, by way of intake as every file, and end the training with it."""
        if step == 0:  # it was stopped before it learned anything
            self._trainings.cancel(training.id)
            return
        self._trainings.to_be_named(training.id)
        self._ask_storage(training.id)
        self._look(training.id)
        digest = sha256(data).hexdigest()
        upload = Upload(
            id=id_for(f"{training.id} {digest}", salt="radiata trained adapter"),
            owner=training.owner,
            status=UploadStatus.INSPECTING,
            name=training.request.name,
            description=training.request.description,
            sha256=digest,
            size_bytes=len(data),
            created_at=training.created_at,
        )
        self._uploads.stage(upload, data)
        with alarm.standing():  # who inspects may be away
            while not (found := self._uploads.get(upload.id)).status.ended:
                self._look(training.id)
                time.sleep(LOOK_S)
        if found.version is None:
            raise RadiataError(found.code or "adapter_refused", found.message or f"its adapter was {found.status}")
        made = TrainedAdapter(name=found.name, version=found.version, sha256=digest, step=step)
        self._trainings.end_with(training, made)


class _Teller:
    """Tells of a training what its run tells."""

    def __init__(
        self,
        trainings: Trainings,
        storage: Storage,
        training: Accepted,
        exported: Callable[[], bytes],
        saved: Callable[[str], None],
        judge: Callable[[Accepted, int, str, bytes], None] = lambda *_: None,
    ) -> None:
        self._judge = judge
        self._trainings, self._storage, self._training = trainings, storage, training
        self._exported, self._saved = exported, saved
        self._losses = deque[float](maxlen=RECENT)
        self._told = 0.0
        self._pictures = list(training.pictures)
        course = trainings.courses.get(training.id)
        self._began, self._spent, self._since = course.began, course.device_seconds, time.monotonic()

    @property
    def _device_seconds(self) -> float:
        """What its device has spent, with what came before this process and has not gone with one that died."""
        return round(self._spent + time.monotonic() - self._since, 3)

    def __call__(self, event: Event) -> None:
        """Tell of one event."""
        match event:
            case Progress():
                self._progress(event)
            case Sampled():
                self._sampled(event)
            case Note():
                log.info("training_note", training=self._training.id, note=event.text)
                self._trainings.courses.noted(self._training.id, event.text)
            case Saved():
                loss = fmean(self._losses) if self._losses else None
                self._trainings.courses.saved(
                    self._training.id, event.step, loss, self._exported(), self._device_seconds
                )
                self._saved(self._training.id)
            case Restored():
                courses = self._trainings.courses
                if all(one.step != event.step for one in courses.get(self._training.id).steps):
                    courses.saved(self._training.id, event.step, None, self._exported())
            case Encoded():
                pass

    def _progress(self, event: Progress) -> None:
        self._losses.append(event.loss)
        if time.monotonic() - self._told < TOLD_S and event.step < event.steps:
            return
        self._told = time.monotonic()
        progress = TrainingProgress(
            step=event.step,
            steps=event.steps,
            loss=fmean(self._losses),
            pictures_per_s=event.images,
            remaining_s=event.remaining,
            trained_steps=max(event.step - self._began, 0),
            device_seconds=self._device_seconds,
        )
        self._trainings.tell(self._training.id, progress)

    def _sampled(self, event: Sampled) -> None:
        if event.image is None:
            log.warning("sample_failed", training=self._training.id, step=event.step, error=event.failed)
            return
        asked = [(one.prompt, one.seed) for one in self._training.request.samples]
        number = asked.index((event.sample.prompt, event.sample.seed))
        made_by = {"training": self._training.id, "step": event.step, "prompt": event.sample.prompt}
        data = encode(event.image, made_by | {"seed": event.sample.seed})
        try:
            self._judge(self._training, event.step, event.sample.prompt, data)
        except Moderated as refusal:
            note = f"sample {number} of step {event.step} was refused by the moderation: {refusal.message}"
            self._trainings.courses.noted(self._training.id, note)
            return
        self._storage.put(sample_key(self._training.id, event.step, number), data)
        picture = picture_of(self._training.id, event.step, number, data)
        self._pictures = [one for one in self._pictures if one.url != picture.url] + [picture]
        self._trainings.show(self._training.id, self._pictures)


def plan_of(request: ResolvedTraining) -> TrainingPlan:
    """Return the plan of an accepted request."""
    asked = request.model_dump(exclude={*ASIDE, "samples"})
    if request.trigger and request.shuffle_caption:  # it stays in front of what is shuffled
        asked["keep_tokens"] += request.trigger.count(SEPARATOR) + 1
    samples = tuple(Sample(prompt=one.prompt, seed=one.seed) for one in request.samples)
    return TrainingPlan(**asked | {"layers": tuple(request.layers), "samples": samples})
