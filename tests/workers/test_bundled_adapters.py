"""What came with a base model gets its names at the first start, and is judged again when something is missing."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from app.shared.catalog import Catalog
from app.shared.storage import Storage
from tests.workers import toy
from workers.intake import Intake


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(toy.adapter(0))
    return folder


def judgements(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every file that is judged from now on."""
    really, judged = Intake.admit, []

    def admit(self: Intake, data: bytes, *rest: Any, **said: Any) -> Any:
        judged.append(data)
        return really(self, data, *rest, **said)

    monkeypatch.setattr(Intake, "admit", admit)
    return judged


def test_what_came_with_a_model_is_judged_once(
    intake: Intake, bundle: Path, storage: Storage, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = judgements(monkeypatch)
    intake.publish_bundled(bundle, "emoji-64")
    redis.flushall()
    intake.publish_bundled(bundle, "emoji-64")
    assert len(judged) == 1
    assert Catalog(storage, redis).record("a").verdict, "it is found, though whoever admitted it told nobody"
    (bundle / "a.safetensors").write_bytes(toy.adapter(1))
    intake.publish_bundled(bundle, "emoji-64")
    assert judged == [toy.adapter(0), toy.adapter(1)]
    assert Catalog(storage, redis).record("a").versions == [1, 2]
    Catalog(storage, redis).delete("a")
    intake.publish_bundled(bundle, "emoji-64")
    assert len(judged) == 2


@pytest.mark.parametrize("gone", ["safetensors", "json"])
def test_what_came_with_a_model_is_judged_again_when_something_of_it_is_missing(
    intake: Intake, bundle: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    judged = judgements(monkeypatch)
    intake.publish_bundled(bundle, "emoji-64")
    storage.delete(f"adapters/{hashlib.sha256(toy.adapter(0)).hexdigest()}.{gone}")
    intake.publish_bundled(bundle, "emoji-64")
    assert len(judged) == 2
    for model in ("another", None):
        intake.publish_bundled(bundle, model)
    assert len(judged) == 4
