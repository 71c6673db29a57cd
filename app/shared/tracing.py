"""Traces (OpenTelemetry) from a request to the steps of its picture; none without `RADIATA_OTEL_ENDPOINT`.

What asked for a generation is kept with it (W3C's `traceparent`), so the engine that draws it goes on with the same
trace. No span says a prompt.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.shared.settings import BadSettings, Settings

HEADER = "traceparent"
_tracer: Any = None  # of this process, where traces are on


def configure(settings: Settings, part: str) -> None:
    """Send this process's spans where settings say; part: which process it is. Raises BadSettings without the extra."""
    if not settings.otel_endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise BadSettings("RADIATA_OTEL_ENDPOINT needs the extra `otel`: pip install 'radiata[otel]'") from error
    provider = TracerProvider(resource=Resource.create({"service.name": f"radiata-{part}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.otel_endpoint)))
    use(provider)


def use(provider: Any) -> None:
    """Have spans made by a provider; None ends that."""
    global _tracer
    _tracer = provider.get_tracer("radiata") if provider else None


@contextmanager
def span(name: str, parent: str = "", **attributes: str | int) -> Iterator[None]:
    """A span around what is done within; parent: the `traceparent` of whoever asked, where they are elsewhere."""
    if _tracer is None:
        yield
        return
    quiet = {"record_exception": False, "set_status_on_exception": False}  # what an error says may be a prompt
    context = _context(parent) if parent else None
    with _tracer.start_as_current_span(name, context=context, attributes=attributes, **quiet):
        yield


def follow(parent: str) -> None:
    """Have what is done next be a part of a trace: that of a `traceparent`, or none."""
    if _tracer is not None:
        from opentelemetry.context import attach

        attach(_context(parent))


def past(name: str, start_ns: int, end_ns: int) -> None:
    """Tell of what has been done, as a part of what is done now; times: nanoseconds of the clock."""
    if _tracer is not None:
        _tracer.start_span(name, start_time=start_ns).end(end_ns)


def event(name: str, **attributes: int) -> None:
    """Tell of a moment of what is done now."""
    if _tracer is not None:
        from opentelemetry.trace import get_current_span

        get_current_span().add_event(name, attributes)


def current() -> str:
    """The `traceparent` of what is done now; empty where traces are off."""
    if _tracer is None:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carried: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carried)
    return carried.get(HEADER, "")


def _context(parent: str) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({HEADER: parent})


def is_on() -> bool:
    """Whether this process makes spans."""
    return _tracer is not None
