"""Law 4 through HTTP: what an answer promises was flushed before the answer was sent."""

import os
from collections.abc import Callable

import httpx
import pytest

from app.shared import local_store
from app.shared.generation_keys import pending_key
from app.shared.settings import Settings
from app.shared.uploads import bytes_key, record_key
from tests.app.shared.making import MODEL


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Callable[[], list[str]]:
    """Files and folders of the store in the order in which they were flushed, as they are called when it is asked."""
    seen: list[int] = []
    really, root = local_store._flush, settings.data_dir / "store"

    def flush(number: int) -> None:
        really(number)
        seen.append(os.fstat(number).st_ino)

    def names() -> list[str]:
        called = {path.stat().st_ino: str(path.relative_to(root)) for path in root.rglob("*")}
        return [called.get(number, "") for number in seen]

    monkeypatch.setattr(local_store, "_flush", flush)
    return names


def test_an_accepted_generation_was_flushed(api: httpx.Client, flushed: Callable[[], list[str]]) -> None:
    generation_id = api.post("/v1/generations", json={"prompt": "a", "steps": 1, "model": MODEL}).json()["id"]
    assert flushed()[-2:] == [pending_key(generation_id), "pending"]


def test_a_canceled_one_and_an_upload_were_flushed(api: httpx.Client, flushed: Callable[[], list[str]]) -> None:
    generation_id = api.post("/v1/generations", json={"prompt": "a", "steps": 1, "model": MODEL}).json()["id"]
    assert api.delete(f"/v1/generations/{generation_id}").status_code == 200
    end = f"generations/{generation_id}"
    assert [name for name in flushed() if name.startswith(end)][-2:] == [f"{end}/manifest.json", end]
    assert flushed()[-2:] == [f"unindexed/ended/{generation_id}", "unindexed/ended"]
    upload = api.post("/v1/adapters", files={"file": ("x", b"bytes")}, data={"name": "a"}).json()
    assert flushed()[-4:] == [bytes_key(upload["id"]), "uploads", record_key(upload["id"]), "uploads"]
