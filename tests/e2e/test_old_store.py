"""A data folder of version 0.1 under a whole service of today: the work that waited in it is done, and it goes on."""

import io
import time
from collections.abc import Iterator
from hashlib import sha256

import httpx
import numpy as np
import pytest
from PIL import Image

from tests import old_store, samples
from tests.conftest import running
from tests.e2e.drawing import PATIENCE_S, draw, picture, upload, wait

SAME = {name: value for name, value in old_store.PLAIN.items() if name != "negative_prompt"}
ROUNDING = 1.0  # of 255, on average: another machine or another torch may round otherwise


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """An HTTP client on a service over a copy of the folder."""
    with (
        running(old_store.copied(tmp_path_factory.mktemp("old"))) as service,
        httpx.Client(base_url=service.url, timeout=120) as client,
    ):
        yield client


def apart(one: bytes, other: bytes) -> float:
    """How far two pictures are apart on average, of 255."""
    first, second = (np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=float) for png in (one, other))
    return float(np.abs(first - second).mean())


def test_what_was_accepted_is_drawn_as_it_was_asked_for(old: httpx.Client) -> None:
    for one in old_store.waiting():
        drawn = wait(old, one["id"])
        assert drawn["status"] == "succeeded", drawn["error"]
        asked = "bypass" if old_store.scheduled(one) else "merge"
        assert old_store.lost([one["request"], asked], drawn) == [], "said twice: as asked for, and as done"
    (before,) = filter(old_store.scheduled, old_store.ended())
    (after,) = filter(old_store.scheduled, old_store.waiting())
    unscheduled = draw(old, **SAME, adapters=[{"ref": "conv", "strength": 0.9}])
    then, now, otherwise = (picture(old, wait(old, one["id"])) for one in (before, after, unscheduled))
    assert apart(then, now) < ROUNDING < apart(then, otherwise) / 4


def test_an_upload_that_waited_is_judged(old: httpx.Client) -> None:
    (late,) = old_store.records("uploads/*.json")
    until = time.monotonic() + PATIENCE_S
    while (answer := old.get(f"/v1/adapters/uploads/{late['id']}")).status_code == 202 and time.monotonic() < until:
        time.sleep(0.1)
    assert (answer.status_code, answer.json()["sha256"]) == (200, late["sha256"]), answer.text
    assert old.get("/v1/adapters/late").json()["description"] == late["description"]


def test_old_adapters_go_on(old: httpx.Client) -> None:
    draw(old, **SAME, adapters=[{"ref": "tiny"}, {"ref": "conv", "strength": 0.4}, {"ref": "unet-only"}])
    (bundled,) = old_store.records("names/fluent-3d-locon/*.json")
    found = old.get("/v1/adapters/fluent-3d-locon").json()
    assert (found["version"], found["sha256"]) == (1, bundled["sha256"]), "a worker published it once more"
    file = old.get("/v1/adapters/fluent-3d-locon/file").content
    assert sha256(file).hexdigest() == bundled["sha256"]
    again = upload(old, samples.file("lora", 9), "gone")
    assert (again.status_code, again.json()["version"]) == (201, 2), "a number is never used again"
