"""A picture is stored, told of and shown once the hook has said yes to all of its generation, and never before."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from redis import Redis

from app.shared.errors import ModerationAway
from app.shared.events import stream_key
from app.shared.generations import Ledger
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Status
from tests.app.shared import hooks
from tests.app.shared.making import request
from tests.workers import toy
from tests.workers.drawing.asking import drawn, pictures, png
from workers import patience
from workers.drawing.engine import Engine


@pytest.fixture
def moderated(storage: Storage, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    hooks.ASKED.clear()
    hooks.AWAY.clear()
    monkeypatch.setattr(patience, "PAUSES_S", (0.01,))
    deterministic = torch.are_deterministic_algorithms_enabled()
    said = {"moderation": "tests.app.shared.hooks:judge", "storage_patience_s": 1.0}
    yield Engine(toy.base(), storage, redis, settings.model_copy(update=said))
    torch.use_deterministic_algorithms(deterministic)


def told(redis: Redis, generation_id: str) -> list[str]:
    entries: Any = redis.xrange(stream_key(generation_id))
    return [entry[b"kind"].decode() for _, entry in entries]


def test_no_picture_of_what_is_refused_is_ever_stored(
    moderated: Engine, ledger: Ledger, storage: Storage, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[str] = []
    real = Storage.put

    def put(self: Storage, key: str, data: Any) -> None:
        stored.append(key)
        real(self, key, data)

    monkeypatch.setattr(Storage, "put", put)
    one = drawn(moderated, ledger, prompt="the second is refused", count=2)
    assert one.status is Status.FAILED and one.error and (one.error.code, one.error.message) == ("moderated", hooks.NO)
    assert not [key for key in stored if key.endswith(".png")] and not pictures(storage, one)
    assert "image" not in told(redis, one.id) and "preview" not in told(redis, one.id)
    assert one.device_seconds > 0 and one.images == []


def test_what_is_allowed_is_the_same_bytes(
    moderated: Engine, engine: Engine, ledger: Ledger, storage: Storage, redis: Redis
) -> None:
    free, asked = (drawn(one, ledger, count=2) for one in (engine, moderated))
    assert [png(storage, free, at) for at in range(2)] == [png(storage, asked, at) for at in range(2)]
    assert [one["picture"]["index"] for one in hooks.ASKED] == [0, 1]
    assert hooks.ASKED[0]["id"] == asked.id and hooks.ASKED[0]["request"]["prompt"] == asked.request.prompt
    assert told(redis, asked.id).count("image") == 2
    assert [one.size_bytes for one in asked.images] == [len(png(storage, asked, at)) for at in range(2)]
    assert asked.timings_ms
    assert asked.device_seconds * 1000 == pytest.approx(asked.timings_ms.swap + asked.timings_ms.sample, abs=10)


def test_a_hook_that_is_away_is_waited_for_and_costs_no_try(moderated: Engine, ledger: Ledger) -> None:
    hooks.AWAY.extend([1, 1, 1])
    assert drawn(moderated, ledger).status is Status.SUCCEEDED and len(hooks.ASKED) == 4


def test_a_hook_that_stays_away_has_it_put_back(moderated: Engine, ledger: Ledger, storage: Storage) -> None:
    hooks.AWAY.extend([1] * 10_000)
    one = ledger.accept(request())
    with pytest.raises(ModerationAway):
        moderated.run(one.id)
    assert ledger.get(one.id).status is Status.QUEUED and not pictures(storage, one)
    hooks.AWAY.clear()
    moderated.run(one.id)
    assert ledger.get(one.id).status is Status.SUCCEEDED and json.dumps(hooks.ASKED[-1])
