"""What becomes of a training of the service when somebody ends it, wants its end, or its process has to go."""

import errno
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from redis import Redis

from app.shared import local_store
from app.shared.catalog import file_key
from app.shared.course import Courses
from app.shared.datasets import Datasets, dataset_of
from app.shared.errors import NoRoom, Unavailable
from app.shared.settings import MIB, Settings
from app.shared.storage import Storage
from app.shared.training_keys import adapter_key, course_key, folder_of, room_key, sample_key
from app.shared.trainings import Trainings
from app.shared.uploads import Uploads
from app.shared.wire.dataset import DatasetPicture, DatasetReport
from app.shared.wire.generation import Status
from app.shared.wire.training import Training, TrainingSample
from app.shared.wire.upload import UploadStatus
from tests.app.shared.making import training_request
from workers.training import service
from workers.training.plan import Sample
from workers.training.progress import Event, Note, Progress, Restored, Sampled, Saved
from workers.training.run import Canceled
from workers.training.service import Trainer, plan_of

STEPS = 6
BASE = SimpleNamespace(profile=SimpleNamespace(fingerprint="b" * 64))
Then = Callable[[int], None]  # what happens after a step


class Run:
    """Stands for a run: steps and checkpoints, and no model."""

    then: Then = staticmethod(lambda step: None)
    full = False  # the disk
    sampled_after = 0  # a step; 0: none

    def __init__(self, *_: Any, **__: Any) -> None:
        self.step = 0

    def run(self, told: Callable[[Event], None], canceled: Callable[[], bool]) -> Any:
        told(Note("a rank was cut"))
        while self.step < STEPS:
            if canceled():
                raise Canceled
            self.step += 1
            told(Progress(self.step, STEPS, 0.5, 0.1, 10.0, 0.1))
            told(Saved(self.step, "key"))
            type(self).then(self.step)
            if self.step == self.sampled_after:
                told(Sampled(self.step, Sample(prompt="a disc"), Image.new("RGB", (8, 8))))
        return SimpleNamespace(step=self.step, data=self.exported())

    def exported(self) -> bytes:
        return b"adapter of step %d" % self.step


@pytest.fixture
def trainings(storage: Storage, redis: Redis, settings: Settings) -> Trainings:
    return Trainings(storage, redis, settings)


@pytest.fixture
def trainer(storage: Storage, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    monkeypatch.setattr(service, "load", lambda *_: BASE)
    monkeypatch.setattr(service, "Training", Run)
    monkeypatch.setattr(service, "LOOK_S", 0.01)
    monkeypatch.setattr(service, "TOLD_S", 0.0)
    return Trainer(storage, redis, settings)


@pytest.fixture
def accepted(storage: Storage, trainings: Trainings) -> Training:
    entries = [DatasetPicture(ref=f"image:{at:064x}", caption="a disc\na circle", width=8, height=8) for at in range(2)]
    dataset = Datasets(storage).keep(dataset_of(entries, DatasetReport(), datetime.now(UTC)))[0]
    return trainings.accept(training_request(dataset=dataset.ref, steps=STEPS))


def after(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], Any]) -> None:
    monkeypatch.setattr(Run, "then", staticmethod(lambda made: act() if made == step else None))


def inspected(uploads: Uploads, storage: Storage) -> Thread:
    """Stands for intake: names the first upload that comes."""

    def inspect() -> None:
        while not (waiting := list(uploads.records.waiting())):
            pass
        upload = uploads.get(waiting[0])
        uploads.settle(upload.model_copy(update={"status": UploadStatus.ADMITTED, "version": 3}))

    thread = Thread(target=inspect, daemon=True)
    thread.start()
    return thread


def test_it_succeeds_with_its_version(
    trainer: Trainer, trainings: Trainings, accepted: Training, storage: Storage, redis: Redis, settings: Settings
) -> None:
    thread = inspected(Uploads(storage, redis, settings), storage)
    trainer.run(accepted.id)
    thread.join(10)
    ended = trainings.get(accepted.id)
    assert ended.status is Status.SUCCEEDED and ended.adapter and ended.progress.step == STEPS
    assert (ended.adapter.name, ended.adapter.version, ended.adapter.step) == ("style", 3, STEPS)
    assert [one.step for one in ended.checkpoints] == [*range(1, STEPS + 1)] and ended.notes == ["a rank was cut"]
    kept = {adapter_key(accepted.id, step) for step in range(1, STEPS + 1)} | {course_key(accepted.id)}
    assert {*storage.keys(folder_of(accepted.id))} == kept | {f"{folder_of(accepted.id)}/manifest.json"}
    assert storage.get(adapter_key(accepted.id, 2)) == b"adapter of step 2"


def test_a_disk_that_is_full_at_a_checkpoint_ends_it_with_a_sentence_and_what_was_before_is_kept(
    trainer: Trainer,  # for what it puts in place of a base
    trainings: Trainings,
    accepted: Training,
    storage: Storage,
    redis: Redis,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put = storage.put

    def full(key: str, data: Any) -> None:
        if key == adapter_key(accepted.id, 3):
            raise NoRoom("no_room", f"storage has no room for {key!r}; free some, or add some")
        put(key, data)

    monkeypatch.setattr(storage, "put", full)
    Trainer(storage, redis, settings.model_copy(update={"storage_patience_s": 0.01})).run(accepted.id)
    failed = trainings.get(accepted.id)
    assert failed.status is Status.FAILED and failed.error and failed.error.code == "no_room"
    assert "resume" in failed.error.message and [one.step for one in failed.checkpoints] == [1, 2]
    assert list(storage.keys("uploads")) == []


class Disk:
    """Below a local store: full once `room` bytes more are written, until some are deleted; a write stops half-way."""

    def __init__(self, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._write = Path(storage.url.removeprefix("file://")), local_store._write_all
        self._most: int | None = None
        monkeypatch.setattr(local_store, "_write_all", self._written)

    def leave(self, room: int | None) -> None:
        self._most = None if room is None else self._used() + room

    def _used(self) -> int:
        return sum(file.stat().st_size for file in self._folder.rglob("*") if file.is_file())

    def _written(self, number: int, data: bytes) -> None:
        if self._most is not None and self._used() + len(data) > self._most:
            self._write(number, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        self._write(number, data)


@pytest.mark.parametrize("full_after", [0, 3, STEPS], ids=["first checkpoint", "a sample", "publishing"])
def test_a_full_disk_ends_it_with_a_sentence_wherever_it_is_met_and_it_goes_on_when_there_is_room(
    trainer: Trainer,  # for what it puts in place of a base
    trainings: Trainings,
    accepted: Training,
    storage: Storage,
    redis: Redis,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    full_after: int,
) -> None:
    disk, hasty = Disk(storage, monkeypatch), settings.model_copy(update={"storage_patience_s": 0.01})
    if full_after:
        after(monkeypatch, full_after, lambda: disk.leave(0))
    else:
        monkeypatch.setattr(service, "load", lambda *_: disk.leave(0) or BASE)
    monkeypatch.setattr(Run, "sampled_after", 3)
    asked = accepted.request.model_copy(update={"samples": [TrainingSample(prompt="a disc")]})
    training = trainings.accept(asked)
    Trainer(storage, redis, hasty).run(training.id)
    failed = trainings.get(training.id)
    assert failed.status is Status.FAILED and failed.error and failed.error.code == "no_room", failed
    assert "free some" in failed.error.message and "resume" in failed.error.message
    assert [one.step for one in failed.checkpoints] == [*range(1, full_after + 1)]  # what was learned is all there
    assert [
        *storage.keys("names"),
        *storage.keys("adapters"),
        *Uploads(storage, redis, settings).records.waiting(),
    ] == []
    disk.leave(None)
    monkeypatch.setattr(service, "load", lambda *_: BASE)
    after(monkeypatch, 0, lambda: None)
    thread = inspected(Uploads(storage, redis, settings), storage)
    resumed = trainings.accept(asked.model_copy(update={"continues": training.id}))
    Trainer(storage, redis, hasty).run(resumed.id)
    thread.join(10)
    assert trainings.get(resumed.id).status is Status.SUCCEEDED
    assert not any(storage.exists(room_key(one)) for one in (training.id, resumed.id))


def test_a_disk_that_has_no_room_for_the_end_either_is_given_some_by_what_was_reserved(
    trainer: Trainer,  # for what it puts in place of a base
    trainings: Trainings,
    accepted: Training,
    storage: Storage,
    redis: Redis,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deleted: list[str] = []
    for verb in ("put", "create"):

        def full(key: str, data: Any, write: Callable[..., Any] = getattr(storage, verb)) -> Any:
            if Run.full and not deleted:
                raise NoRoom("no_room", f"storage has no room for {key!r}; free some, or add some")
            return write(key, data)

        monkeypatch.setattr(storage, verb, full)
    delete = storage.delete
    monkeypatch.setattr(storage, "delete", lambda key: delete(key) or deleted.append(key))
    monkeypatch.setattr(Run, "full", False)
    after(monkeypatch, 3, lambda: monkeypatch.setattr(Run, "full", True))
    Trainer(storage, redis, settings.model_copy(update={"storage_patience_s": 0.01})).run(accepted.id)
    failed = trainings.get(accepted.id)
    assert failed.error and failed.error.code == "no_room" and deleted[0] == room_key(accepted.id)
    assert [one.step for one in failed.checkpoints] == [1, 2, 3] and storage.exists(adapter_key(accepted.id, 1))


def test_what_is_removed_while_it_is_trained_ends_within_a_step_and_leaves_nothing(
    trainer: Trainer, trainings: Trainings, accepted: Training, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove() -> None:
        trainings.cancel(accepted.id)
        trainings.clear_away(accepted.id)
        storage.put(sample_key(accepted.id, 2, 0), b"what it wrote meanwhile")

    after(monkeypatch, 2, remove)
    trainer.run(accepted.id)
    left = [*storage.keys("trainings"), *storage.keys("to-train"), *storage.keys("uploads")]
    assert left == [f"{folder_of(accepted.id)}/manifest.json"]  # which says that it was deleted


def test_a_checkpoint_of_which_nobody_was_told_has_its_adapter_once_it_is_gone_on_with(
    trainings: Trainings, accepted: Training, storage: Storage
) -> None:
    teller = service._Teller(trainings, storage, accepted, lambda: b"restored", lambda _: None)
    teller(Restored(2))
    assert storage.get(adapter_key(accepted.id, 2)) == b"restored"
    teller = service._Teller(trainings, storage, accepted, lambda: b"once more", lambda _: None)
    teller(Restored(2))
    assert storage.get(adapter_key(accepted.id, 2)) == b"restored"  # it was told, with its loss


def test_the_newest_adapters_are_kept_within_a_bound(storage: Storage, settings: Settings) -> None:
    bounds = {"training_keep_adapters": 3, "training_keep_mb": 1}
    courses = Courses(storage, settings.model_copy(update=bounds))
    for step, twentieths in ((1, 1), (2, 1), (3, 1), (4, 1), (5, 19), (6, 40)):
        courses.saved("0" * 32, step, None, bytes(twentieths * MIB // 20))
        steps = [one.step for one in courses.get("0" * 32).steps]
        assert steps == {4: [2, 3, 4], 5: [4, 5], 6: [6]}.get(step, steps)
        files = {adapter_key("0" * 32, one) for one in steps}
        assert {*storage.keys(folder_of("0" * 32))} == files | {course_key("0" * 32)}


def test_what_it_learned_is_kept_though_redis_was_emptied(
    trainer: Trainer,
    trainings: Trainings,
    accepted: Training,
    storage: Storage,
    redis: Redis,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop() -> None:
        trainings.cancel(accepted.id, keep=True)
        redis.flushall()

    after(monkeypatch, 2, stop)
    thread = inspected(Uploads(storage, redis, settings), storage)
    trainer.run(accepted.id)
    thread.join(10)
    ended = trainings.get(accepted.id)
    assert (
        ended.status is Status.CANCELED and ended.adapter and ended.adapter.step == 2
    )  # storage told, for Redis has nothing


def test_what_was_canceled_gets_no_version_though_redis_was_emptied(
    trainer: Trainer,
    trainings: Trainings,
    accepted: Training,
    storage: Storage,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cancel() -> None:
        trainings.cancel(accepted.id)
        redis.flushall()

    after(monkeypatch, STEPS, cancel)  # after its last checkpoint: asked once more before it is named
    trainer.run(accepted.id)
    ended = trainings.get(accepted.id)
    assert ended.status is Status.CANCELED and ended.adapter is None and list(storage.keys("uploads")) == []


def test_a_stop_before_the_first_step_keeps_nothing(
    trainer: Trainer, trainings: Trainings, accepted: Training, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any) -> Any:
        trainings.cancel(accepted.id, keep=True)
        return SimpleNamespace(profile=SimpleNamespace(fingerprint="b" * 64))

    monkeypatch.setattr(service, "load", load)
    trainer.run(accepted.id)
    ended = trainings.get(accepted.id)
    assert ended.status is Status.CANCELED and ended.adapter is None and list(storage.keys("uploads")) == []


def test_a_process_that_has_to_go_puts_it_back(
    trainer: Trainer, trainings: Trainings, accepted: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    after(monkeypatch, 2, trainer.leave)
    with pytest.raises(Unavailable, match="another goes on"):  # which costs no try
        trainer.run(accepted.id)
    assert trainings.get(accepted.id).status is Status.QUEUED and trainings.get(accepted.id).progress.step == 2


def test_a_process_that_has_to_go_does_not_load_its_model_first(
    trainer: Trainer, trainings: Trainings, accepted: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    for caught in (False, True):

        def load(*_: Any, caught: bool = caught) -> Any:
            with suppress(*[Exception] * caught):  # as a library may
                trainer.leave()
            loaded.append("further")
            return BASE

        monkeypatch.setattr(service, "load", load)
        monkeypatch.setattr(trainer, "_leaving", False)
        with pytest.raises(Unavailable, match="another goes on"):
            trainer.run(accepted.id)
        assert loaded == ["further"] * caught and trainings.get(accepted.id).status is Status.QUEUED


def test_another_base_is_not_trained_on(trainer: Trainer, trainings: Trainings, accepted: Training) -> None:
    trainer_base = SimpleNamespace(profile=SimpleNamespace(fingerprint="c" * 64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "load", lambda *_: trainer_base)
        trainer.run(accepted.id)
    failed = trainings.get(accepted.id)
    assert failed.status is Status.FAILED and failed.error and failed.error.code == "base_changed"


def test_it_begins_from_the_file_that_was_named(
    trainer: Trainer, trainings: Trainings, accepted: Training, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(Run, "__init__", lambda self, *_, start, **__: given.append(start) or setattr(self, "step", 0))
    after(monkeypatch, 1, trainer.leave)
    asked = accepted.request.model_copy(update={"start": f"sha256:{'a' * 64}"})
    gone = trainings.accept(asked)
    trainer.run(gone.id)
    assert (error := trainings.get(gone.id).error) and "is gone" in error.message
    storage.put(file_key("a" * 64), b"the file")
    with pytest.raises(Unavailable):
        trainer.run(trainings.accept(asked).id)
    assert given == [b"the file"]


def test_a_resume_of_what_came_to_nothing_begins_where_the_one_before_it_ended(
    trainer: Trainer, trainings: Trainings, accepted: Training, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = f"checkpoints/0000002-{'e' * 16}.safetensors"
    storage.put(f"{folder_of(accepted.id)}/{checkpoint}", b"checkpoint")
    trainings.cancel(accepted.id)
    second = trainings.accept(accepted.request.model_copy(update={"continues": accepted.id}))
    trainings.cancel(second.id)
    third = trainings.accept(accepted.request.model_copy(update={"continues": second.id}))
    after(monkeypatch, 1, trainer.leave)
    with pytest.raises(Unavailable):
        trainer.run(third.id)
    assert storage.get(f"{folder_of(third.id)}/{checkpoint}") == b"checkpoint"


def test_every_request_that_is_accepted_is_a_plan() -> None:
    asked = training_request(shuffle_caption=True, trigger="one, two", keep_tokens=1, layers=["unet.*"])
    plan = plan_of(asked)
    assert (plan.keep_tokens, plan.layers, plan.steps, plan.algorithm) == (3, ("unet.*",), 40, "lokr")
