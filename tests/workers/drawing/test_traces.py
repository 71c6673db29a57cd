"""One trace from the caller's request to the steps of the picture; nothing of it where it is off."""

import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.shared import tracing
from app.shared.generation_keys import pending_key
from app.shared.generations import Ledger
from app.shared.profiles import Profiles
from app.shared.records import PENDING
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Status
from tests.app.conftest import serving
from tests.app.shared.making import profile, request
from workers.drawing.engine import Engine

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """The spans that this process made."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    yield exporter
    tracing.use(None)
    tracing.follow("")


def test_a_generation_is_one_trace_with_its_caller(
    spans: InMemorySpanExporter, settings: Settings, storage: Storage
) -> None:
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    with serving(settings) as client:
        asked = {"prompt": "a most private apple"}
        answer = client.post("/v1/generations", json=asked, headers={"traceparent": CALLER})
        client.get("/v1/generations")
    accepted = PENDING.get(storage, pending_key(answer.json()["id"]))
    (span,) = spans.get_finished_spans()
    assert span.name == "POST /v1/generations" and span.context and span.parent
    assert f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}" == CALLER[3:-3]
    assert accepted and accepted.traceparent == f"00-{CALLER[3:35]}-{span.context.span_id:016x}-01"
    assert "traceparent" not in answer.text and "traceparent" not in accepted.generation.model_dump_json()


def test_the_engine_goes_on_with_it(spans: InMemorySpanExporter, engine: Engine, ledger: Ledger) -> None:
    with tracing.span("asked", CALLER):
        one = ledger.accept(request(steps=3))
    engine.run(one.id)
    assert ledger.get(one.id).status is Status.SUCCEEDED
    made = {span.name: span for span in spans.get_finished_spans()}
    assert list(made) == ["asked", "queue", "load", "swap", "sample", "store", "draw"]
    assert {f"{span.context.trace_id:032x}" for span in made.values() if span.context} == {CALLER[3:35]}
    asked, draw = made["asked"].context, made["draw"]
    assert asked and draw.parent and draw.context and draw.parent.span_id == asked.span_id
    inner = [made[name].parent for name in ("load", "swap", "sample", "store")]
    assert all(parent and parent.span_id == draw.context.span_id for parent in inner)
    assert [dict(event.attributes or {}) for event in draw.events] == [{"step": 1}, {"step": 2}, {"step": 3}]
    assert "apple" not in "".join(span.to_json() for span in made.values())


def test_nothing_is_made_where_it_is_off(engine: Engine, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in sys.modules if one.startswith("opentelemetry")]:
        monkeypatch.setitem(sys.modules, name, None)  # whoever imports it fails
    with tracing.span("asked", CALLER):
        one = ledger.accept(request())
    engine.run(one.id)
    accepted = ledger.accepted(one.id)
    assert accepted and (accepted.status, accepted.traceparent) == (Status.SUCCEEDED, "")
