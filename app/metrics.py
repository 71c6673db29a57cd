"""The service's figures, as Prometheus reads them.

No label takes what a request or Redis says: their values are those of the tables below, and of the settings.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import cast

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from rq import Worker
from rq.job import Job
from rq.utils import utcparse

from app.accepting.liveness import loaded_or_away
from app.deps import Service
from app.shared.lost import queues_of
from app.shared.metrics import FITS, count, counted, of_choice, of_refusal, of_tier
from app.shared.queue import INTAKE, generation_queue, generation_queues, training_queue
from app.shared.settings import Settings

HELP = {
    "generations_succeeded": "Generations that ended with pictures",
    "generations_failed": "Generations that ended with an error",
    "images": "Pictures stored",
    "prefetch_loads": "Adapters brought into memory while another generation was drawn",
    "prefetch_hits": "Adapters that were in memory by prefetch when their generation began",
    "prefetch_late": "Adapters whose prefetch their generation waited for",
    "prefetch_wasted": "Adapters that were prefetched, and dropped before a generation asked for them",
    "prefetch_failures": "Prefetches that failed; the generation tries again",
    "jobs_refused": "Entries of a queue that were none of our jobs, and were taken off it",
    "storage_errors": "Calls that object storage did not take, each try of one that is tried again",
    "swap_seconds": "Seconds spent swapping adapters",
    "sample_seconds": "Seconds spent drawing",
}

TIERS = ("memory", "disk", "storage", "control")
HELP_OF_TIERS = {
    "hits": "Adapters found in a tier: a worker's memory, its machine's disk, object storage, "
    "the control nets on its device",
    "misses": "Adapters not found in a tier",
    "bytes": "Bytes of adapters parsed into memory, read from disk, fetched from storage",
    "seconds": "Seconds spent parsing into memory, reading from disk, fetching from storage; hashing included",
    "evictions": "Adapters dropped from a tier to make room",
}
STATUSES = (400, 401, 403, 404, 405, 409, 410, 413, 415, 416, 421, 422, 429, 500, 501, 502, 503, 504, 507)
OTHERS = "others"  # queues of models that are no longer in the settings


class _Collector:
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        count(self._service.redis, {})  # what this process has tallied
        numbers = counted(self._service.redis)
        for name, text in HELP.items():
            yield CounterMetricFamily(f"radiata_{name}", text, value=numbers.get(name, 0.0))
        for figure, text in HELP_OF_TIERS.items():
            by_tier = {tier: numbers.get(of_tier(figure, tier), 0.0) for tier in TIERS}
            yield _labelled(CounterMetricFamily, f"adapter_tier_{figure}", text, "tier", by_tier)
        text = "Generations taken by a worker, by how well their adapters fit what its engine has: just the active "
        text += "ones, some of them or more, those in memory, or others"
        by_fit = {fit: numbers.get(of_choice(fit), 0.0) for fit in FITS}
        yield _labelled(CounterMetricFamily, "affinity_choices", text, "fit", by_fit)
        by_status = {str(status): numbers.get(of_refusal(status), 0.0) for status in STATUSES}
        text = "Requests that were answered with a problem"
        yield _labelled(CounterMetricFamily, "requests_refused", text, "status", by_status)
        yield from self._of_queues()
        workers = Worker.count(connection=self._service.redis)
        yield GaugeMetricFamily("radiata_workers", "Workers that are registered", value=workers)
        yield from self._of_models()

    def _of_queues(self) -> Iterator[Metric]:
        redis, settings = self._service.redis, self._service.settings
        names = queues_of(redis, settings)
        keys = [self._service.ledger.queues.of(name).key for name in names]
        with redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.llen(key)
                pipe.lindex(key, 0)
            answers = pipe.execute(raise_on_error=False)  # a key that is no list is mended by workers
        lengths = [length if isinstance(length, int) else 0 for length in answers[::2]]
        heads = [head if isinstance(head, bytes) else None for head in answers[1::2]]
        with redis.pipeline(transaction=False) as pipe:
            for head in heads:
                pipe.hget(Job.redis_job_namespace_prefix + (head or b"").decode(errors="replace"), "enqueued_at")
            ages = [_age_s(since) for since in pipe.execute(raise_on_error=False)]
        waiting, oldest = dict[str, float](), dict[str, float]()
        for name, length, age_s in zip(names, lengths, ages, strict=True):
            label = _label(name, settings)
            waiting[label] = waiting.get(label, 0) + length
            oldest[label] = max(oldest.get(label, 0.0), age_s)
        yield _labelled(GaugeMetricFamily, "jobs_waiting", "Jobs that wait for a worker", "queue", waiting)
        text = "Seconds for which the head of a queue has waited; 0 where nothing waits"
        yield _labelled(GaugeMetricFamily, "queue_age_seconds", text, "queue", oldest)

    def _of_models(self) -> Iterator[Metric]:
        found = self._service.liveness.readiness(loaded_or_away(self._service.profiles))
        ready = {model: float(model in found.models) for model in self._service.settings.models}
        yield _labelled(GaugeMetricFamily, "model_ready", "Whether somebody draws with a model now", "model", ready)
        text = "How much of the index of generations this process has, from 0 to 1"
        yield GaugeMetricFamily("radiata_index_made", text, value=self._service.ledger.following.making.part)
        yield GaugeMetricFamily("radiata_storage_up", "Whether object storage answers", value=float(found.storage))


def _labelled(
    family: type[CounterMetricFamily] | type[GaugeMetricFamily],
    name: str,
    text: str,
    label: str,
    values: dict[str, float],
) -> Metric:
    made = family(f"radiata_{name}", text, labels=[label])
    for value, number in values.items():
        made.add_metric([value], number)
    return made


def _label(queue: str, settings: Settings) -> str:
    """A queue without what its generations are pinned to; those of models that are gone are one."""
    of, colon, priority = queue.partition(":")
    name = of.partition("@")[0] + colon + priority
    configured = [one for model in settings.models for one in (*generation_queues(model), training_queue(model))]
    if name in (*configured, INTAKE):
        return name
    return training_queue(OTHERS) if name.startswith(training_queue("")) else generation_queue(OTHERS)


def _age_s(since: object) -> float:
    """Seconds since a time as RQ writes it; 0 for what is none."""
    try:
        return max(0.0, (datetime.now(UTC) - utcparse(cast(bytes, since).decode())).total_seconds())
    except (AttributeError, ValueError, TypeError):
        return 0.0


def registry(service: Service) -> CollectorRegistry:
    """A registry over the service as it stands now."""
    made = CollectorRegistry()
    made.register(_Collector(service))  # type: ignore[arg-type]
    return made
