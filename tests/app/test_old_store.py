"""A data folder of version 0.1 under an API of today, before any worker has touched it: all that it holds is served."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import httpx
import pytest
from redis import Redis

from app.shared.queue import INTAKE, Queues, generation_queues
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.sweep import Sweep
from app.shared.uploads import Uploads
from tests import old_store
from tests.app.conftest import serving
from tests.old_store import PLAIN, STORE


@pytest.fixture
def old(settings: Settings) -> Iterator[httpx.Client]:
    """An HTTP client on an API over a copy of the folder."""
    old_store.copied(settings.data_dir)
    with serving(settings) as client:
        yield client


def test_every_generation_reads_as_it_was_written(old: httpx.Client) -> None:
    listed = {one["id"]: one for one in old.get("/v1/generations", params={"limit": 200}).json()["generations"]}
    known = [*old_store.ended(), *old_store.waiting()]
    assert {one["status"] for one in known} == {"succeeded", "failed", "canceled", "queued"}
    assert listed.keys() == {one["id"] for one in known}
    for one in known:
        found = old.get(f"/v1/generations/{one['id']}").json()
        assert found == listed[one["id"]]
        assert old_store.lost(one, found) == [], found


def test_the_pictures_are_served(old: httpx.Client) -> None:
    images = [image for one in old_store.ended() for image in one["images"]]
    assert len(images) == 7
    for image in images:
        answer = old.get(image["url"])
        assert (answer.status_code, sha256(answer.content).hexdigest()) == (200, image["sha256"])


def test_adapters_and_their_versions_are_listed(old: httpx.Client) -> None:
    versions = {(one["name"], one["version"]): one for one in old_store.records("names/*/[0-9].json")}
    newest = dict(sorted(versions))
    listed = {one["name"]: one for one in old.get("/v1/adapters").json()["adapters"]}
    assert {name: one["version"] for name, one in listed.items()} == newest and newest["tiny"] == 2
    for (name, number), one in versions.items():
        found = old.get(f"/v1/adapters/{name}:{number}").json()
        assert old_store.lost(one, found) == [] and found["versions"] and found["verdict"]
        if (STORE / f"adapters/{one['sha256']}.safetensors").exists():  # the bundled ones' bytes come with a worker
            file = old.get(f"/v1/adapters/{name}:{number}/file").content
            assert sha256(file).hexdigest() == one["sha256"]
    assert versions["unet-only", 1]["ignore"] == old.get("/v1/adapters/unet-only").json()["ignore"] == ["lora_te_*"]


def test_a_deleted_name_stays_deleted(old: httpx.Client) -> None:
    answer = old.get("/v1/adapters/gone")
    assert (answer.status_code, answer.json()["code"]) == (410, "adapter_deleted")
    answer = old.post("/v1/generations", json=PLAIN | {"adapters": [{"ref": "gone"}]})
    assert (answer.status_code, answer.json()["code"]) == (410, "adapter_deleted")


def asked(request: dict[str, Any], body: dict[str, Any]) -> bool:
    """Whether a request is what became of this body, as far as both have the same words."""
    return all(request[name] == value for name, value in body.items() if name != "adapters")


def test_an_idempotency_key_means_what_it_meant(old: httpx.Client) -> None:
    quick = {name: PLAIN[name] for name in ("steps", "guidance_scale", "seed")}
    said = {
        "plain": PLAIN,
        "two pictures": quick | {"prompt": "pizza", "count": 2, "sampler": "euler"},
        "of a deleted adapter": quick | {"prompt": "sunflower", "adapters": [{"ref": "gone", "rank": 2}]},
    }
    for key, body in said.items():
        again = old.post("/v1/generations", json=body, headers={"Idempotency-Key": key})
        assert again.status_code == 202, again.text
        (first,) = (one for one in old_store.ended() if asked(one["request"], body))
        assert (again.json()["id"], again.json()["status"]) == (first["id"], "succeeded")
        other = old.post("/v1/generations", json=body | {"seed": 8}, headers={"Idempotency-Key": key})
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


def test_what_waits_is_queued_again(old: httpx.Client, storage: Storage, redis: Redis, settings: Settings) -> None:
    Sweep(storage, redis, settings).run()
    Uploads(storage, redis, settings).sweep()
    queues = Queues(redis, settings)
    queued = [one for name in generation_queues(settings.model) for one in queues.of(name).get_job_ids()]
    assert sorted(queued) == [one["id"] for one in old_store.waiting()]
    (late,) = old_store.records("uploads/*.json")
    assert queues.of(INTAKE).get_job_ids() == [late["id"]]
    assert old.get(f"/v1/adapters/uploads/{late['id']}").json()["status"] == "inspecting"
