"""Trainings: accepted, followed, and ended exactly once; killed anywhere, they go on from their last checkpoint.

They live as every job does (`app/shared/lifecycle.py`). One that has not ended is `to-train/<id>.json`; its end is
`trainings/<id>/manifest.json`, or what says there that it was removed. Beside that lie its checkpoints, and the samples
that were drawn with them (`app/shared/training_keys.py`).

Of its live state in Redis (`app/shared/lifecycle.py`), `progress` and `pictures` are JSON, `stop` is what storage has
of that name, and `tried_from` is the step of the checkpoint from which the tries are counted.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, Literal, cast

from redis import Redis
from redis.exceptions import RedisError

from app.shared.accepted import AcceptedTraining, JobTombstone
from app.shared.course import Courses
from app.shared.errors import Conflict, Deleted, Gone, NotFound, Unavailable, Unreadable
from app.shared.job_records import Places
from app.shared.lifecycle import Lifecycle, live_key, now, time_in
from app.shared.living import counted, heal
from app.shared.lost import look, queues_of
from app.shared.owners import FIRST, Asker
from app.shared.queue import training_queue
from app.shared.records import DELETED, TO_TRAIN, TRAINED, tell
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.training_keys import (
    checkpoint_folder,
    folder_of,
    manifest_key,
    naming_key,
    pending_key,
    room_key,
    stop_key,
)
from app.shared.training_live import PICTURES, as_it_stands
from app.shared.training_records import begun, ended_now, note_used, picture_of
from app.shared.wire.generation import Failure, Status
from app.shared.wire.training import ResolvedTraining, TrainedAdapter, Training, TrainingPicture, TrainingProgress
from app.shared.worker_state import lately_alive

_CHECKPOINT = re.compile(r"([0-9]{7})-[0-9a-f]{16}\.safetensors")
_SAMPLE = re.compile(r"trainings/[0-9a-f]{32}/samples/([0-9]{7})-([0-9]{1,2})\.png")
Over = Literal["ended", "stop", ""]


def trainers_of(model: str) -> str:
    """What workers that train on a model are called where it is told that one lives (`app/shared/worker_state.py`)."""
    return f"train:{model}"  # no model has a colon


PLACES = Places("trainings", "to-train", TO_TRAIN, pending_key, TRAINED, manifest_key)


class Trainings(Lifecycle[AcceptedTraining]):
    """Accepts trainings, follows them, and ends each one exactly once."""

    salt = "radiata training key"

    def __init__(self, storage: Storage, redis: Redis, settings: Settings, asker: Asker = None) -> None:
        super().__init__(storage, redis, settings, PLACES, asker)
        self.courses = Courses(storage, settings)

    # Acceptance

    def repeat(self, idempotency_key: str | None, fingerprint: str | None) -> Training | None:
        """The training that was accepted with this key; None without a key, or where it is new.

        Raises Conflict where the key was used for another body, and Unreadable.
        """
        earlier = self.earlier(idempotency_key, fingerprint)
        return self.get(earlier.id) if earlier else None

    def accept(self, request: ResolvedTraining, own: str | None = None, fingerprint: str | None = None) -> Training:
        """Accept a resolved request and queue it under its own id; where that was just used, what was accepted then.

        Raises Conflict where the key was used for another body, and Unavailable where nobody trains or too many wait.
        """
        try:
            waiting = len(self.queues.of(training_queue(request.model)))
            alive = lately_alive(self._redis, trainers_of(request.model), "")
        except RedisError as error:
            raise Unavailable("queue_unavailable", f"the queue does not answer: {error}") from error
        if not alive and self._settings.accept_without_worker_s >= 0:
            message = f"no worker trains on model {request.model!r} now; `radiata worker --train` starts one"
            raise Unavailable("no_trainer", message)
        if waiting >= self._settings.max_queued:
            message = f"{waiting} trainings wait for model {request.model!r} already; try again later"
            raise Unavailable("queue_full", message)
        accepted = begun(own or self.id_for(None), request, fingerprint, self.owner)
        if self.begin(accepted) is None:
            with suppress(RedisError):
                self.queue(accepted)
        return self.get(accepted.id)

    # Reading

    def get(self, training_id: str) -> Training:
        """A training as it stands; raises NotFound or Unreadable."""
        return self.stands(training_id).training

    def stands(self, job_id: str) -> AcceptedTraining:
        """As `get`, with its fingerprint."""
        record = self._without_course(job_id)
        return record.model_copy(update={"training": self.courses.shown(record.training)})

    def _without_course(self, training_id: str) -> AcceptedTraining:
        live = self.live(training_id)
        record = self.within(live, training_id)
        return record.model_copy(update={"training": as_it_stands(record.training, live)})

    def end(self, training_id: str) -> Training | None:
        """How a training ended, as storage has it; None while it has not. Raises Unreadable."""
        ended = None
        with suppress(Deleted):
            ended = self.records.ended(training_id)
        return ended.training if ended else None

    def newest(self, limit: int, before: str | None) -> tuple[list[Training], str | None]:
        """The newest `limit` trainings older than the one called `before`, and the last of them if there are more.

        Raises NotFound for a cursor that is none.
        """
        found = list(islice(self.newest_first(before), limit + 1))
        return [self.courses.shown(one) for one in found[:limit]], found[limit - 1].id if len(found) > limit else None

    def newest_first(self, before: str | None = None) -> Iterator[Training]:
        """Yield trainings, all or those older than `before`, without their courses; each is read when it is its turn.

        Storage is listed: a training takes minutes or hours, so there are few. Raises NotFound as `newest` does.
        """
        moments = {key.split("/")[1].removesuffix(".json"): when for key, when in self._storage.entries("to-train")}
        for key, when in self._storage.entries("trainings"):
            if match := TRAINED.keys.fullmatch(key):
                moments[match[1]] = when
        ids = sorted(moments, key=lambda one: (time_in(one) or moments[one].timestamp(), one), reverse=True)
        if before is not None:
            if before not in moments:
                raise self.unknown()
            with suppress(Unreadable):
                self.get(before)
            ids = ids[ids.index(before) + 1 :]
        for training_id in ids:
            try:
                yield self._without_course(training_id).training
            except (NotFound, Gone):  # another owner's, or cleared away
                continue
            except Unreadable as error:
                tell(self._redis, error)

    def learned(self, training_id: str) -> str | None:
        """The training whose checkpoints this one begins with: itself, or one that it continues; None for neither.

        Raises NotFound where one of these is gone, and Unreadable.
        """
        *_, last = self.line(training_id)
        return last if self.checkpoints(last) else None

    def line(self, training_id: str) -> Iterator[str]:
        """Yield a training, and those that it goes on with, up to the first that has checkpoints.

        Raises NotFound where one of them is gone, and Unreadable.
        """
        at: str | None = training_id
        while at:
            yield at
            if self.checkpoints(at):
                return
            record = None
            with suppress(Deleted):
                record = self.records.either(at)
            if record is None:
                raise NotFound("training_unknown", f"training {at}, which is to be gone on with, was removed")
            at = record.training.request.continues

    def checkpoints(self, training_id: str) -> list[int]:
        """The steps after which there is a checkpoint, the newest last."""
        keys = self._storage.keys(checkpoint_folder(folder_of(training_id)))
        found = (_CHECKPOINT.fullmatch(key.rpartition("/")[2]) for key in keys)
        return sorted(int(match[1]) for match in found if match)

    # On a worker

    def start(self, training_id: str) -> Training | None:
        """Mark a training as running; None as `to_do` says, which raises Newer."""
        accepted = self.to_do(training_id)
        if accepted is None:
            return None
        training = as_it_stands(accepted.training, self.read_live(training_id))
        training = training.model_copy(update={"pictures": self.drawn(training_id)})
        started = training.started_at or now()
        fields = {"started_at": started.isoformat(), "accepted": TO_TRAIN.write(accepted)}
        self.mark(training_id, Status.RUNNING, fields)
        return training.model_copy(update={"status": Status.RUNNING, "started_at": started})

    def drawn(self, training_id: str) -> list[TrainingPicture]:
        """The samples that storage has, in order."""
        found = map(_SAMPLE.fullmatch, sorted(self._storage.keys(f"{folder_of(training_id)}/samples")))
        return [
            picture_of(training_id, int(match[1]), int(match[2]), data)
            for match in found
            if match and (data := self._storage.get(match[0]))
        ]

    def tell(self, training_id: str, progress: TrainingProgress) -> None:
        """Publish progress; nothing happens where it has ended."""
        if self.over(training_id) == "ended":
            return
        with self._redis.pipeline() as pipe:
            # Redis may have been emptied since, and the sweep have written that it waits
            self.set_live(pipe, training_id, {"status": Status.RUNNING.value, "progress": progress.model_dump_json()})
            self.publish(pipe, training_id, "progress", progress.model_dump(mode="json"))
            pipe.execute()

    def show(self, training_id: str, pictures: list[TrainingPicture]) -> None:
        """Publish the samples that were drawn so far, the last of them anew."""
        with self._redis.pipeline() as pipe:
            self.set_live(pipe, training_id, {"pictures": PICTURES.dump_json(pictures)})
            self.publish(pipe, training_id, "image", pictures[-1].model_dump(mode="json"))
            pipe.execute()

    def over(self, training_id: str, certainly: bool = False) -> Over:
        """Whether somebody has ended it, or wants that, by Redis, which is asked at every step; one removed has ended.

        certainly: by storage, which knows it also where Redis was emptied, or the training was removed.
        """
        if not certainly:
            names = ["final", "stop", "accepted"]
            final, stop, accepted = cast(list[bytes | None], self._redis.hmget(live_key(training_id), names))
            if final or stop or accepted:
                return "ended" if final else "stop" if stop else ""
        if not self._storage.exists(pending_key(training_id)) or self._storage.exists(manifest_key(training_id)):
            return "ended"
        return "stop" if self._storage.exists(stop_key(training_id)) else ""

    def to_be_named(self, training_id: str) -> None:
        """Say that its adapter is about to get its version: from then on nobody can cancel it."""
        self._storage.put(naming_key(training_id), b"naming")

    # Ends

    def finish(self, training: Training, **told: Any) -> bool:
        """End a training as told, with what is known of its course; False when it had ended before: nothing changes."""
        training, pending = as_it_stands(training, self.read_live(training.id)), None
        with suppress(Unreadable):
            pending = self.records.pending(training.id)
        return self.conclude(ended_now(training.model_copy(update=told), pending.fingerprint if pending else None))

    def fail(self, training: Training, code: str, message: str) -> bool:
        """End a training as failed; its checkpoints stay, and it can be resumed."""
        return self.finish(training, status=Status.FAILED, error=Failure(code=code, message=message))

    def end_with(self, training: Training, adapter: TrainedAdapter) -> bool:
        """End a training with the adapter that it made, which is in the catalog: as canceled where it was stopped."""
        whole = adapter.step == training.request.steps
        return self.finish(training, status=Status.SUCCEEDED if whole else Status.CANCELED, adapter=adapter)

    def cancel(self, training_id: str, keep: bool = False) -> Training:
        """Cancel a training, queued or running; a worker on it stops within a step, and checkpoints stay.

        keep: have the worker give what was learned so far its version in the catalog, and end it then. Raises NotFound,
        Unreadable, and Conflict when it has ended already, or has learned nothing that could be kept.
        """
        if not keep:
            return self.withdraw(training_id).training
        record = self.stands(training_id)
        if record.status.ended:
            why = self.too_late(record)
            raise Conflict("already_ended", why)
        if record.status is not Status.RUNNING and not self.learned(training_id):
            raise Conflict(
                "nothing_learned", "this training has not begun: there is nothing to keep; cancel it without"
            )
        self._storage.put(stop_key(training_id), b"keep")
        with suppress(RedisError), self._redis.pipeline() as pipe:  # where it does not know, the next checkpoint shows
            self.set_live(pipe, training_id, {"stop": "keep"})
            pipe.execute()
        return record.training

    def clear_away(self, training_id: str) -> None:
        """Remove a training that has ended, with its checkpoints and samples; its versions in the catalog stay.

        Raises NotFound, Unreadable, and Conflict where one that has not ended goes on with its checkpoints.
        """
        record = self.latest(training_id)
        if not record.status.ended:
            raise Conflict("not_ended", "this training has not ended; cancel it first")
        for one in self.living():
            with suppress(NotFound, Unreadable):  # it cannot go on with any
                if one.id != training_id and training_id in self.line(one.id):
                    message = f"training {one.id} goes on with this one; cancel it, or wait for its end"
                    raise Conflict("training_needed", message)
        self.remove(training_id, record.owner)

    def living(self) -> Iterator[Training]:
        """Yield the asker's trainings that wait or run, as they were accepted; what cannot be read is left out."""
        for training_id in list(self.records.waiting()):
            with suppress(Unreadable):
                if (record := self.records.pending(training_id)) and self.sees(record):
                    yield record.training

    def remove(self, training_id: str, owner: str = FIRST) -> None:
        """Clear away a training, readable or not: records, checkpoints, samples, its place in the queue.

        In the place of its end stands that it was deleted. That decides: a worker that is on it cannot end it anew.
        """
        self.queues.drop(training_id)
        deleted = JobTombstone(id=training_id, owner=owner, created_at=now(), deleted_at=now())
        self._storage.put(manifest_key(training_id), DELETED.write(deleted))
        self._remove(training_id)

    def remove_again(self, training_id: str) -> None:
        """Clear away what a worker wrote of a training that was removed while it was on it."""
        with suppress(Unreadable):
            try:
                self.records.ended(training_id)
            except Deleted:
                self._remove(training_id)

    def _remove(self, training_id: str) -> None:
        self._storage.delete(pending_key(training_id))
        for key in [*self._storage.keys(folder_of(training_id))]:
            if key != manifest_key(training_id):
                self._storage.delete(key)
        self._redis.delete(live_key(training_id))

    # What the life cycle asks

    def fingerprint(self, record: AcceptedTraining) -> str | None:
        """A hash of the request's body."""
        return record.fingerprint

    def enqueue(self, record: AcceptedTraining) -> None:
        """Queue a training by its model."""
        self.queues.enqueue_training(record.training.request.model, record.id, record.owner)

    def news(self, record: AcceptedTraining) -> dict[str, Any]:
        """Its status, its adapter, and the error of one that failed."""
        training = record.training
        found = {name: one.model_dump(mode="json") for name in ("error", "adapter") if (one := getattr(training, name))}
        return {"status": record.status} | found

    def clear(self, record: AcceptedTraining) -> None:
        """Note what it used; delete what asked for its end, or forbade it. Checkpoints stay, for `resume`, `extend`."""
        note_used(self._storage, record.training, self.courses.get(record.id))
        self._storage.delete(stop_key(record.id))
        self._storage.delete(room_key(record.id))
        self._storage.delete(naming_key(record.id))

    def may_cancel(self, record: AcceptedTraining) -> bool:
        """Whether its adapter is not about to get its version."""
        return not self._storage.exists(naming_key(record.id))

    def give_up(self, record: AcceptedTraining) -> None:
        """Try again from a checkpoint that is newer than at the last time; without one, end it as failed."""
        newest = max(self.checkpoints(record.id), default=0)
        before = self.read_live(record.id).get("tried_from", "0")
        if newest > (int(before) if before.isdecimal() else 0):
            with self._redis.pipeline() as pipe:
                self.set_live(pipe, record.id, {"tried_from": str(newest)})
                pipe.execute()
            self.queues.drop(record.id)
            self.queue(record)
            return
        tries = self._settings.retries + 1
        message = f"its worker died on each of {tries} tries after step {newest}; see the worker's log"
        self.fail(record.training, "worker_died", message)

    def as_canceled(self, record: AcceptedTraining) -> AcceptedTraining:
        """The record of a canceled training."""
        return ended_now(record.training.model_copy(update={"status": Status.CANCELED}), record.fingerprint)

    def too_late(self, record: AcceptedTraining) -> str:
        """Say how it ended, or is about to."""
        if not record.status.ended:
            return f"the adapter gets its version just now; `DELETE /v1/adapters/{record.training.request.name}`"
        return f"this training has {record.status}; there is nothing to cancel"

    def unknown(self) -> NotFound:
        """No such training."""
        return NotFound("training_unknown", "there is no such training; ids come from POST /v1/trainings")

    # Nothing accepted is lost

    def sweep(self) -> None:
        """Bring back what is lost."""
        places, pending = counted(self._redis, "trainings"), set(self.records.waiting())
        heal(self._redis, places, pending)
        if pending:
            names = [one for one in queues_of(self._redis, self._settings) if one.startswith(training_queue(""))]
            self.bring_back(pending, look(self._redis, names))
