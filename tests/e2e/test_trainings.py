"""A training, from a dataset to an adapter that draws: killed or not, the same bytes."""

import io
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import psutil
from PIL import Image

from app.shared.datasets import Datasets, dataset_of
from app.shared.pictures import Pictures
from app.shared.storage import Storage
from app.shared.wire.dataset import DatasetPicture, DatasetReport
from app.supervisor import Service
from tests.e2e.drawing import picture, wait

COLOURS = ("red", "green", "blue", "white")
LATE_S = 240.0
ASKED = {"algorithm": "lokr", "rank": 4, "steps": 6, "batch_size": 2, "seed": 7, "learning_rate": 0.01}
SAMPLE = {"prompt": "a red square", "seed": 3}


def dataset(storage: Storage) -> str:
    entries = []
    for colour in COLOURS:
        kept, _ = Pictures(storage).keep(Image.new("RGB", (64, 64), colour))
        entries.append(DatasetPicture(ref=kept.ref, caption=f"a {colour} square", width=64, height=64))
    return Datasets(storage).keep(dataset_of(entries, DatasetReport(), datetime.now(UTC)))[0].ref


def ended(http: httpx.Client, training: dict[str, Any]) -> dict[str, Any]:
    until = time.monotonic() + LATE_S
    while training["status"] in ("queued", "running"):
        assert time.monotonic() < until, training
        time.sleep(0.2)
        training = http.get(f"/v1/trainings/{training['id']}").json()
    return training


def kill_after(http: httpx.Client, training: dict[str, Any], step: int, worker: int) -> None:
    until = time.monotonic() + LATE_S
    while http.get(f"/v1/trainings/{training['id']}").json()["progress"]["step"] < step:
        assert time.monotonic() < until
        time.sleep(0.05)
    for child in psutil.Process(worker).children():
        child.kill()


def test_a_training_that_is_killed_ends_with_the_same_bytes(service: Service, http: httpx.Client) -> None:
    body = ASKED | {"dataset": dataset(Storage(service.settings.store_url)), "checkpoint_every": 2}
    killed = http.post("/v1/trainings", json=body | {"name": "killed"}).json()
    kill_after(http, killed, 3, service.pids()["trainer"])
    killed = ended(http, killed)
    assert killed["status"] == "succeeded", killed["error"]
    whole = ended(http, http.post("/v1/trainings", json=body | {"name": "whole", "samples": [SAMPLE]}).json())
    assert whole["status"] == "succeeded", whole["error"]
    files = [http.get(f"/v1/adapters/{name}/file").content for name in ("killed", "whole")]
    assert tensors_of(files[0]) == tensors_of(files[1])
    assert [one["step"] for one in whole["checkpoints"]] == [2, 4, 6]
    earlier = http.post(f"/v1/trainings/{whole['id']}/publish", json={"step": 2})
    assert (earlier.status_code, earlier.json()["version"]) == (201, whole["adapter"]["version"] + 1)
    assert http.post(f"/v1/trainings/{whole['id']}/publish", json={"step": 6}).status_code == 200  # it has a version
    # A sample is what the service draws with the same prompt, seed and adapter
    sample = http.get(whole["pictures"][-1]["url"]).content
    adapters = [{"ref": f"whole:{whole['adapter']['version']}"}]
    accepted = http.post("/v1/generations", json=SAMPLE | {"adapters": adapters}).json()
    assert pixels(sample) == pixels(picture(http, wait(http, accepted["id"], "succeeded")))


def tensors_of(file: bytes) -> bytes:
    """What follows the header, which says what a training was called and which samples it drew."""
    return file[8 + int.from_bytes(file[:8], "little") :]


def pixels(png: bytes) -> bytes:
    """Of a picture."""
    return Image.open(io.BytesIO(png)).tobytes()
