"""A request whose maps models make is accepted for those of a worker that lives and has all of them."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from redis import Redis

from app.accepting.generations import preprocessors_of
from app.accepting.liveness import Liveness
from app.metrics import _label
from app.shared.generations import Ledger
from app.shared.preprocessing import digest
from app.shared.queue import base_of, generation_queue, generation_queues, model_of, needs_of
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.adapter import AdapterUse
from app.shared.wire.generation import GenerationRequest
from app.shared.worker_state import WorkerState, publish
from tests.app.shared.making import MODEL, profile, request

OWN, OTHER = "0" * 64, "f" * 64
DEPTH, POSE = ["d" * 64], ["e" * 64, "f" * 64]
REF = f"image:{'1' * 64}"


class Here:
    """What acceptance asks."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.liveness = Liveness(redis, settings)


def lives(redis: Redis, name: str, base: str = OWN, **preprocessors: list[str]) -> None:
    said = WorkerState(
        name=name,
        model=MODEL,
        base=base,
        preprocessors=preprocessors,
        host="",
        state="idle",
        active=[],
        resident=[],
        since=datetime.now(UTC),
    )
    publish(redis, said, 60)
    redis.sadd("rq:workers", f"rq:worker:{name}")


def asked(*kinds: str) -> GenerationRequest:
    uses = [
        AdapterUse.model_validate({"ref": f"net{at}", "image": REF, "preprocess": kind})
        for at, kind in enumerate(kinds)
    ]
    return GenerationRequest.model_validate({"prompt": "a red apple", "adapters": uses})


def needed(redis: Redis, settings: Settings, *kinds: str, published: Any = None) -> dict[str, list[str]] | None:
    parts: Any = Here(redis, settings)
    return preprocessors_of(parts, profile(fingerprint=OWN, preprocessors=published or {}), asked(*kinds))


def test_it_is_for_a_worker_that_has_all_whoever_was_first(redis: Redis, settings: Settings) -> None:
    lives(redis, "a")
    lives(redis, "b", depth=DEPTH)
    lives(redis, "c", base=OTHER, pose=POSE)
    assert needed(redis, settings, "canny", "none") == {}
    assert needed(redis, settings, "canny", "depth") == {"depth": DEPTH}
    assert needed(redis, settings, "pose") is None, "of another base"
    lives(redis, "d", pose=POSE)
    assert needed(redis, settings, "depth", "pose") is None, "of two workers, none makes both"
    lives(redis, "e", depth=[], pose=POSE)
    assert needed(redis, settings, "depth", "pose") == {"depth": [], "pose": POSE}
    assert needed(redis, settings, "depth", published={"depth": DEPTH}) == {"depth": DEPTH}


def test_where_nobody_is_known_what_is_published_and_named_counts(redis: Redis, settings: Settings) -> None:
    assert needed(redis, settings, "depth") is None
    assert needed(redis, settings, "depth", published={"depth": DEPTH}) == {"depth": DEPTH}
    named = settings.model_copy(update={"preprocessors": {"depth": "owner/name"}})
    assert needed(redis, named, "depth") == {"depth": []}
    lives(redis, "a")
    assert needed(redis, named, "depth") is None, "the one that lives has none"


def test_a_queue_for_each_need_is_named_so_that_everybody_reads_it(
    redis: Redis, storage: Storage, settings: Settings
) -> None:
    needs = digest({"depth": DEPTH})
    for name in generation_queues("a.b-c", OWN, [needs])[::3]:
        assert (model_of(name), base_of(name), needs_of(name)) == ("a.b-c", OWN[:16], needs)
    label = _label(generation_queue(MODEL, "low", OWN, needs), settings)
    assert label == generation_queue(MODEL, "low")
    ledger = Ledger(storage, redis, settings)
    one, plain = ledger.accept(request(base=OWN, preprocessors={"depth": DEPTH})), ledger.accept(request(base=OWN))
    assert ledger.queues.of(generation_queue(MODEL, base=OWN, needs=needs)).get_job_ids() == [one.id]
    assert ledger.queues.of(generation_queue(MODEL, base=OWN)).get_job_ids() == [plain.id]
    assert [ledger.get(each.id).queue_position for each in (one, plain)] == [0, 0]


def test_places_are_the_same_by_both_ways(
    redis: Redis, storage: Storage, settings: Settings, api: httpx.Client
) -> None:
    ledger = Ledger(storage, redis, settings)
    pinned = {"base": OWN, "preprocessors": {"depth": DEPTH}}
    made = [ledger.accept(request(**pinned), priority=urgency) for urgency in ("low", "normal", "normal", "high")]
    made.append(ledger.accept(request(base=OWN), priority="high"))
    for one in made:
        assert api.get(f"/v1/generations/{one.id}").json()["queue_position"] == ledger.get(one.id).queue_position


@pytest.mark.parametrize("hostile", [{"x" * 99: []}, {str(number): ["1"] for number in range(40)}])
def test_a_worker_that_says_much_keeps_nobody_busy(
    redis: Redis, settings: Settings, hostile: dict[str, list[str]]
) -> None:
    lives(redis, "a", **hostile)  # type: ignore[arg-type]
    assert needed(redis, settings, "depth") is None
