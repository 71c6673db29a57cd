"""The service's figures, as Prometheus reads them."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from rq import Worker

from app.deps import Service
from app.shared.metrics import counted
from app.shared.queue import INTAKE, generation_queue

HELP = {
    "generations_succeeded": "Generations that ended with pictures",
    "generations_failed": "Generations that ended with an error",
    "images": "Pictures stored",
    "adapter_cache_hits": "Adapters found in a worker's memory",
    "adapter_cache_misses": "Adapters fetched from object storage",
    "adapter_cache_bytes_fetched": "Bytes of adapters fetched from object storage",
    "swap_seconds": "Seconds spent swapping adapters",
    "sample_seconds": "Seconds spent drawing",
}


class _Collector:
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        numbers = counted(self._service.redis)
        for name, text in HELP.items():
            yield CounterMetricFamily(f"radiata_{name}", text, value=numbers.get(name, 0.0))
        waiting = GaugeMetricFamily("radiata_jobs_waiting", "Jobs that wait for a worker", labels=["queue"])
        for queue in [*(generation_queue(model) for model in self._service.settings.models), INTAKE]:
            waiting.add_metric([queue], self._service.ledger.queues.of(queue).count)
        yield waiting
        workers = Worker.count(connection=self._service.redis)
        yield GaugeMetricFamily("radiata_workers", "Workers that are registered", value=workers)


def registry(service: Service) -> CollectorRegistry:
    """A registry over the service as it stands now."""
    made = CollectorRegistry()
    made.register(_Collector(service))  # type: ignore[arg-type]
    return made
