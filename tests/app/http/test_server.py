"""A server that is told to stop ends what waits: every request in flight gets a whole answer."""

import logging
import threading
import time

import httpx
import pytest

from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests import samples
from tests.app.conftest import serving
from tests.app.shared.making import profile

SOON_S = 30.0  # of a busy machine; far less than what an upload waits for here


def test_what_waits_is_answered_when_the_server_stops(
    settings: Settings, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    settings = settings.model_copy(update={"upload_wait_s": 10 * SOON_S})
    answers: dict[str, httpx.Response] = {}
    with caplog.at_level(logging.ERROR), serving(settings) as http:

        def upload() -> None:
            file = {"file": ("a.safetensors", samples.file("lora"))}
            answers["upload"] = httpx.post(f"{http.base_url}/v1/adapters", data={"name": "a"}, files=file, timeout=None)

        def follow(url: str) -> None:
            answers["stream"] = httpx.get(url, timeout=None)

        generation = http.post("/v1/generations", json={"prompt": "a red apple"}).json()
        stream = f"{http.base_url}/v1/generations/{generation['id']}/events"
        threads = [threading.Thread(target=upload), threading.Thread(target=follow, args=(stream,))]
        for thread in threads:
            thread.start()
        while not list(storage.keys("uploads")):
            time.sleep(0.05)
        began = time.monotonic()
    for thread in threads:
        thread.join(SOON_S)
    assert answers["upload"].status_code == 202, answers["upload"].text
    assert answers["stream"].status_code == 200 and answers["stream"].text.endswith("\n\n"), "it ended early, whole"
    assert time.monotonic() - began < SOON_S
    assert not caplog.records, [record.getMessage() for record in caplog.records]
