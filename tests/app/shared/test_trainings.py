"""A training ends once, and dies only where it learns nothing any more."""

import pytest
from redis import Redis
from rq.job import JobStatus

from app.shared.errors import Conflict, Gone, NotFound, Unavailable
from app.shared.queue import training_queue
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.training_keys import folder_of, manifest_key, sample_key, stop_key
from app.shared.trainings import Trainings, trainers_of
from app.shared.wire.generation import Status
from app.shared.wire.training import TrainedAdapter, TrainingPicture, TrainingProgress
from app.shared.worker_state import tell_alive
from tests.app.shared.making import training_request

ASKED = training_request()
MADE = TrainedAdapter(name="style", version=1, sha256="a" * 64, step=40)


def checkpoint_key(training_id: str, step: int) -> str:
    return f"{folder_of(training_id)}/checkpoints/{step:07d}-{'e' * 16}.safetensors"


@pytest.fixture
def trainings(storage: Storage, redis: Redis, settings: Settings) -> Trainings:
    return Trainings(storage, redis, settings)


def test_it_lives_as_a_generation_does(trainings: Trainings, storage: Storage, redis: Redis) -> None:
    training = trainings.accept(ASKED)
    assert (training.status, training.progress.step, training.progress.steps) == (Status.QUEUED, 0, 40)
    assert trainings.queues.of(training_queue("emoji-64")).get_job_ids() == [training.id]
    started = trainings.start(training.id)
    assert started and trainings.get(training.id) == started and started.status is Status.RUNNING
    trainings.tell(training.id, TrainingProgress(step=5, steps=40, loss=0.5))
    assert trainings.over(training.id) == ""
    picture = TrainingPicture(step=5, sample=0, url="/v1/there", sha256="c" * 64)
    trainings.show(training.id, [picture])
    running = trainings.get(training.id)
    assert (running.progress.step, running.progress.loss, running.pictures) == (5, 0.5, [picture])
    assert trainings.end_with(running, MADE) and not trainings.fail(running, "code", "message")
    ended = trainings.get(training.id)
    assert (ended.status, ended.adapter, ended.pictures) == (Status.SUCCEEDED, MADE, [picture])
    assert trainings.over(training.id) == "ended"
    redis.flushall()
    assert trainings.get(training.id) == ended == trainings.end(training.id)
    assert list(storage.keys("to-train")) == []


def test_a_key_means_one_training(trainings: Trainings) -> None:
    first = trainings.accept(ASKED, trainings.id_for("key"), "one")
    assert trainings.accept(ASKED, trainings.id_for("key"), "one").id == first.id
    assert (again := trainings.repeat("key", "one")) and again.id == first.id
    assert trainings.repeat("another", "one") is trainings.repeat(None, "one") is None
    with pytest.raises(Conflict):
        trainings.repeat("key", "two")


def test_the_list_is_newest_first_page_by_page(trainings: Trainings) -> None:
    made = [trainings.accept(ASKED).id for _ in range(5)]
    trainings.cancel(made[2])
    first, cursor = trainings.newest(2, None)
    second, _ = trainings.newest(2, cursor)
    last, end = trainings.newest(2, second[-1].id)
    assert sorted(one.id for one in first + second + last) == sorted(made) and end is None
    with pytest.raises(NotFound):
        trainings.newest(2, "f" * 32)


def dead(trainings: Trainings, training_id: str) -> None:
    """As RQ leaves a job whose worker died on every try."""
    job = trainings.queues.job(training_id)
    assert job
    trainings.queues.of(training_queue("emoji-64")).remove(job)
    job.set_status(JobStatus.FAILED)


def test_a_death_after_a_new_checkpoint_uses_up_no_try(trainings: Trainings, storage: Storage) -> None:
    training = trainings.accept(ASKED)
    for step in (5, 10, 15):
        storage.put(checkpoint_key(training.id, step), b"checkpoint")
        dead(trainings, training.id)
        trainings.sweep()
        assert trainings.get(training.id).status is Status.QUEUED
        assert trainings.queues.of(training_queue("emoji-64")).get_job_ids() == [training.id]
    dead(trainings, training.id)
    trainings.sweep()
    failed = trainings.get(training.id)
    assert failed.status is Status.FAILED and failed.error and failed.error.code == "worker_died"
    assert trainings.checkpoints(training.id) == [5, 10, 15]


def test_what_redis_forgot_is_queued_again(trainings: Trainings, redis: Redis) -> None:
    training = trainings.accept(ASKED)
    redis.flushall()
    trainings.sweep()
    assert trainings.queues.of(training_queue("emoji-64")).get_job_ids() == [training.id]


def test_canceled_is_canceled_and_what_was_learned_stays(trainings: Trainings, storage: Storage) -> None:
    training = trainings.accept(ASKED)
    with pytest.raises(Conflict, match="nothing to keep"):
        trainings.cancel(training.id, keep=True)
    storage.put(checkpoint_key(training.id, 5), b"checkpoint")
    assert trainings.cancel(training.id, keep=True).status is Status.QUEUED
    assert trainings.over(training.id) == trainings.over(training.id, certainly=True) == "stop"
    assert trainings.cancel(training.id).status is Status.CANCELED
    assert not storage.exists(stop_key(training.id)) and trainings.checkpoints(training.id) == [5]
    with pytest.raises(Conflict, match="canceled"):
        trainings.cancel(training.id, keep=True)


def test_from_when_its_adapter_gets_its_version_it_is_not_canceled(trainings: Trainings, storage: Storage) -> None:
    training = trainings.accept(ASKED)
    trainings.to_be_named(training.id)
    with pytest.raises(Conflict, match="gets its version just now"):
        trainings.cancel(training.id)
    assert trainings.end_with(training, MADE) and list(storage.keys(folder_of(training.id))) == [
        f"{folder_of(training.id)}/manifest.json"
    ]


def test_what_was_drawn_is_told_whatever_becomes_of_redis(trainings: Trainings, storage: Storage, redis: Redis) -> None:
    training = trainings.accept(ASKED)
    storage.put(sample_key(training.id, 5, 0), b"png")
    redis.flushall()
    started = trainings.start(training.id)
    assert started and [(one.step, one.sample) for one in started.pictures] == [(5, 0)]
    assert trainings.end_with(started, MADE) and trainings.get(training.id).pictures == started.pictures


def test_one_that_runs_says_so_after_redis_was_emptied(trainings: Trainings, redis: Redis) -> None:
    training = trainings.accept(ASKED)
    trainings.start(training.id)
    redis.flushall()
    trainings.sweep()
    trainings.tell(training.id, TrainingProgress(step=7, steps=40))
    assert trainings.get(training.id).status is Status.RUNNING


def test_where_nobody_trains_nothing_is_taken(storage: Storage, redis: Redis, settings: Settings) -> None:
    trainings = Trainings(storage, redis, settings.model_copy(update={"accept_without_worker_s": 60.0}))
    with pytest.raises(Unavailable, match="radiata worker --train"):
        trainings.accept(ASKED)
    tell_alive(redis, trainers_of("emoji-64"), "", 60)
    assert trainings.accept(ASKED).status is Status.QUEUED


def test_one_that_nobody_can_read_is_cleared_away_whole(trainings: Trainings, storage: Storage, redis: Redis) -> None:
    training = trainings.accept(ASKED)
    for key in (checkpoint_key(training.id, 5), sample_key(training.id, 5, 0)):
        storage.put(key, b"bytes")
    trainings.remove(training.id)
    assert list(storage.keys("to-train")) == [] and list(storage.keys("trainings")) == [manifest_key(training.id)]
    with pytest.raises(Gone):
        trainings.get(training.id)


def test_what_was_removed_does_not_rise_again(trainings: Trainings, storage: Storage) -> None:
    training = trainings.accept(ASKED)
    trainings.start(training.id)
    trainings.cancel(training.id)
    trainings.clear_away(training.id)
    assert trainings.over(training.id) == trainings.over(training.id, certainly=True) == "ended"
    storage.put(checkpoint_key(training.id, 5), b"what its worker wrote meanwhile")
    trainings.tell(training.id, TrainingProgress(step=5, steps=40))
    assert not trainings.end_with(training, MADE) and trainings.end(training.id) is None
    trainings.remove_again(training.id)
    assert list(storage.keys("trainings")) == [manifest_key(training.id)] and trainings.newest(9, None) == ([], None)
    with pytest.raises(Gone):
        trainings.get(training.id)


def test_no_moment_lets_a_worker_end_what_was_removed(
    trainings: Trainings, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is removed between whatever its worker looks at last and the creation of its end."""
    training = trainings.accept(ASKED)
    started = trainings.start(training.id)
    create, others = storage.create, Trainings(storage, trainings._redis, trainings._settings)

    def removed(key: str, data: bytes) -> bool:
        monkeypatch.setattr(storage, "create", create)
        others.cancel(training.id)
        others.clear_away(training.id)
        return create(key, data)

    monkeypatch.setattr(storage, "create", removed)
    assert started and not trainings.end_with(started, MADE)
    trainings.sweep()
    with pytest.raises(Gone, match="was deleted"):
        trainings.get(training.id)
    assert list(storage.keys("to-train")) == [] and not trainings.queues.of(training_queue("emoji-64")).get_job_ids()


def test_a_key_of_what_was_removed_is_no_new_training(trainings: Trainings) -> None:
    training = trainings.accept(ASKED, trainings.id_for("key"), "one")
    trainings.cancel(training.id)
    trainings.clear_away(training.id)
    with pytest.raises(Gone, match="another Idempotency-Key"):
        trainings.repeat("key", "one")


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "waits"])
def test_nothing_else_is_taken_for_removed(trainings: Trainings, storage: Storage, ended: bool) -> None:
    training = trainings.accept(ASKED)
    if ended:
        trainings.cancel(training.id)
    before = {*storage.keys("trainings"), *storage.keys("to-train")}
    trainings.remove_again(training.id)
    assert {*storage.keys("trainings"), *storage.keys("to-train")} == before


def test_no_link_between_a_living_training_and_the_checkpoints_that_it_needs_is_removed(
    trainings: Trainings, storage: Storage
) -> None:
    first = trainings.accept(ASKED)
    storage.put(checkpoint_key(first.id, 5), b"checkpoint")
    second = trainings.accept(ASKED.model_copy(update={"continues": first.id}))
    third = trainings.accept(ASKED.model_copy(update={"continues": second.id}))
    for one in (first, second):
        trainings.cancel(one.id)
    for one in (first, second):
        with pytest.raises(Conflict, match="goes on with this one"):
            trainings.clear_away(one.id)
    assert trainings.learned(third.id) == first.id
    storage.put(checkpoint_key(third.id, 10), b"its own")
    for one in (second, first):
        trainings.clear_away(one.id)
    assert trainings.learned(third.id) == third.id
    fourth = trainings.accept(ASKED.model_copy(update={"continues": first.id}))
    with pytest.raises(NotFound, match="was removed"):  # not silently from step 0
        trainings.learned(fourth.id)


def test_no_more_wait_than_are_taken(storage: Storage, redis: Redis, settings: Settings) -> None:
    trainings = Trainings(storage, redis, settings.model_copy(update={"max_queued": 1}))
    trainings.accept(ASKED)
    with pytest.raises(Unavailable, match="try again later"):
        trainings.accept(ASKED)
