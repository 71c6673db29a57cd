"""The service's figures, as Prometheus reads them."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from rq import Worker

from app.deps import Service
from app.shared.lost import queues_of
from app.shared.metrics import counted, of_tier
from app.shared.queue import base_of

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


class _Collector:
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        numbers = counted(self._service.redis)
        for name, text in HELP.items():
            yield CounterMetricFamily(f"radiata_{name}", text, value=numbers.get(name, 0.0))
        for figure, text in HELP_OF_TIERS.items():
            family = CounterMetricFamily(f"radiata_adapter_tier_{figure}", text, labels=["tier"])
            for tier in TIERS:
                family.add_metric([tier], numbers.get(of_tier(figure, tier), 0.0))
            yield family
        waiting = GaugeMetricFamily("radiata_jobs_waiting", "Jobs that wait for a worker", labels=["queue"])
        counts: dict[str, int] = {}
        for queue in queues_of(self._service.redis, self._service.settings):
            name = queue.replace(f"@{base_of(queue)}", "")  # of whichever base
            counts[name] = counts.get(name, 0) + self._service.ledger.queues.of(queue).count
        for name, number in counts.items():
            waiting.add_metric([name], number)
        yield waiting
        workers = Worker.count(connection=self._service.redis)
        yield GaugeMetricFamily("radiata_workers", "Workers that are registered", value=workers)


def registry(service: Service) -> CollectorRegistry:
    """A registry over the service as it stands now."""
    made = CollectorRegistry()
    made.register(_Collector(service))  # type: ignore[arg-type]
    return made
