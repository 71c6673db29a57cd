"""Nothing accepted is lost: Redis is brought back in line with storage, every few seconds, by one of the workers."""

from redis import Redis
from rq.job import JobStatus

from app.shared.errors import Unreadable
from app.shared.ledger import Ledger
from app.shared.records import tell
from app.shared.settings import Settings
from app.shared.storage import Storage


class Sweep:
    """Queues what is lost, ends what cannot go on."""

    def __init__(self, storage: Storage, redis: Redis, settings: Settings) -> None:
        self._storage = storage
        self._redis = redis
        self._ledger = Ledger(storage, redis, settings)
        self._queues = self._ledger.queues

    def run(self) -> None:
        """Look once at everything that is pending."""
        pending = (key.removeprefix("pending/").removesuffix(".json") for key in self._storage.keys("pending"))
        for generation_id, status in self._queues.lost(pending, "generations"):
            try:
                self._bring_back(generation_id, status)
            except Unreadable as error:  # nobody can make work of it; the others must not wait for that
                tell(self._redis, error)
                self._queues.drop(generation_id)

    def _bring_back(self, generation_id: str, status: JobStatus | None) -> None:
        if self._ledger.close_again(generation_id):
            self._queues.drop(generation_id)
            return
        accepted = self._ledger.accepted(generation_id)
        if accepted is None:
            return  # ended between two looks
        if status in (JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED):
            self._ledger.fail(
                accepted.generation,
                "worker_died",
                "every try ended without a picture: the engine died, or storage did not answer; see the worker's log",
            )
            return
        self._queues.drop(generation_id)
        self._ledger.queue(accepted)
