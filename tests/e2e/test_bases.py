"""A rolling upgrade of a base under one name, with real processes: what is accepted has somebody who draws it."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from redis import Redis
from safetensors.torch import load_file, save_file

from tests.conftest import running
from tests.e2e.drawing import PATIENCE_S, draw
from tests.e2e.test_workers import another_worker

BUNDLED = Path(__file__).parents[2] / "workers/models/emoji-64"


def upgraded(folder: Path) -> Path:
    """The bundled model, as if it had been trained a little more."""
    shutil.copytree(BUNDLED, folder)
    weights = next((folder / "unet").glob("*.safetensors"))
    tensors = {name: one * 1.02 if one.is_floating_point() else one for name, one in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    return folder


def eventually(what: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < until
        time.sleep(0.1)


def offered(http: httpx.Client) -> str:
    return http.get("/v1/models").json()["models"][0]["fingerprint"]


def test_a_base_is_replaced_while_it_lives_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as service, httpx.Client(base_url=service.url, timeout=60) as http:
        old = draw(http)["request"]["base"]
        (first,) = http.get("/v1/workers").json()["workers"]
        monkeypatch.setenv("RADIATA_MODELS", json.dumps({first["model"]: str(upgraded(tmp_path / "new"))}))
        with another_worker(service, tmp_path), Redis.from_url(service.redis_url) as redis:

            def forgotten() -> bool:
                redis.delete(f"radiata:worker:{first['name']}")
                return offered(http) != old

            eventually(lambda: first["model"] in http.get("/readyz").json()["other_bases"])
            assert draw(http)["request"]["base"] == old == offered(http), "the first that lives is offered"
            eventually(forgotten)
            assert draw(http)["request"]["base"] == offered(http) != old
        eventually(lambda: offered(http) == old)  # the other went for good
        assert draw(http)["request"]["base"] == old
