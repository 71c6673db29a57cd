"""The face of fal's API, proven with its own client as it is installed, over TLS."""

import importlib
import re
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import fal_client
import fal_client.auth
import fal_client.client
import httpx
import pytest
import trustme
from PIL import Image
from redis import Redis

from app.faces.fal.fetched import name_of
from app.faces.fal.request import FalRequest
from app.shared.catalog import Catalog
from app.shared.generations import Ledger
from app.shared.keys import Keyring
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Generation, Status
from tests.app.conftest import serving
from tests.app.faces.drawing import FAILS, WAITS, drawing
from tests.app.faces.pages import PAGES, fields, run, told
from tests.app.shared.making import MODEL, profile, version

APP = f"radiata/{MODEL}"
OBEYED = ("output_format", "quality", "init_image", "mask_image", "denoise")
LORA = b"an adapter of somewhere else"


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The address of an adapter on another host."""

    class Host(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(LORA)))
            self.end_headers()
            self.wfile.write(LORA)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/style.safetensors"
        server.shutdown()


@pytest.fixture
def settings(settings: Settings, elsewhere: str) -> Settings:
    more = {"upload_wait_s": 20.0, "fetch_allow": (elsewhere.split("/")[2],)}
    return settings.model_copy(update=more)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "own.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    return {"ssl_certfile": str(tmp_path / "own.pem")}


@pytest.fixture
def client(
    storage: Storage, redis: Redis, settings: Settings, tls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    known = profile(obeys=dict.fromkeys(OBEYED, True), samplers=["ddim", "euler"])
    Profiles(storage, settings).publish(known, {"unet": {}})
    for name in ("style", "ink"):
        Catalog(storage, redis).admit(version(name, name.encode()), {})
    with serving(settings, **tls) as api, drawing(storage, redis, settings), made(api, monkeypatch) as one:
        yield one


@contextmanager
def made(api: httpx.Client, monkeypatch: pytest.MonkeyPatch, key: str = "any") -> Iterator[Any]:
    """The client, imported where these variables say where fal is."""
    host = f"127.0.0.1:{api.base_url.port}"
    monkeypatch.setenv("FAL_RUN_HOST", f"{host}/fal/run")
    monkeypatch.setenv("FAL_QUEUE_RUN_HOST", f"{host}/fal/queue")
    monkeypatch.setenv("FAL_KEY", key)
    importlib.reload(fal_client.auth)
    importlib.reload(fal_client.client)
    one = importlib.reload(fal_client).SyncClient()
    yield one
    one._client.close()  # it has no other way


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


def newest(ledger: Ledger) -> Generation:
    return ledger.list(1, None)[0][0]


def asked(**more: Any) -> dict[str, Any]:
    return {"prompt": "a red apple", "num_inference_steps": 2} | more


def test_run_draws_as_asked(client: Any, ledger: Ledger) -> None:
    more = {"image_size": {"width": 64, "height": 32}, "num_images": 2, "seed": 3, "scheduler": "euler"}
    found = client.run(APP, asked(**more, guidance_scale=4.5))
    assert [httpx.get(one["url"]).content for one in found["images"]] == [b"picture 0", b"picture 1"]
    assert {one["content_type"] for one in found["images"]} == {"image/jpeg"}
    request = newest(ledger).request
    assert (request.count, request.width, request.height, request.sampler) == (2, 64, 32, "euler")
    assert (request.seed, found["seed"], request.guidance_scale, request.output_format) == (3, 3, 4.5, "jpeg")


def test_the_queue_is_asked_followed_and_answers(client: Any, ledger: Ledger) -> None:
    handle = client.submit(APP, asked(num_inference_steps=12, sync_mode=True), priority="low", start_timeout=50)
    assert handle.status_url.startswith("https://127.0.0.1:")
    standings = list(handle.iter_events(with_logs=True, interval=0.05))
    logs = [one.logs[-1]["message"] for one in standings if getattr(one, "logs", None)]
    assert re.match(r" *\d+%\|", logs[0]) and logs[-1].endswith("12/12")
    found = handle.get()["images"][0]["url"]
    assert b64decode(found.partition(",")[2]) == b"picture 0"
    drawn = newest(ledger)
    assert drawn.priority == "low" and drawn.start_by and (drawn.start_by - drawn.created_at).seconds == 50
    lines = httpx.get(f"{handle.status_url}/stream").text.split("\n\n")
    assert '"COMPLETED"' in lines[-2]
    assert httpx.get(client.subscribe(APP, asked())["images"][0]["url"]).content == b"picture 0"


def test_a_stream_tells_of_steps_and_has_the_output(client: Any) -> None:
    *before, last = client.stream(APP, asked(num_inference_steps=9))
    assert before[0]["progress"]["steps"] == 9 and len(last["images"]) == 1


SHAPES: list[dict[str, Any]] = [
    {"loras": [{"path": "style", "scale": 0.8}, {"path": "ink.safetensors", "scale": 0.5}]},
    {"adapters": [{"ref": "style", "strength": 0.8}, {"ref": "ink", "strength": 0.5}]},
]


def test_adapters_in_every_shape_are_the_same_adapters(client: Any, ledger: Ledger) -> None:
    for shape in SHAPES:
        client.run(APP, asked(**shape))
        assert [(one.name, one.strength) for one in newest(ledger).request.adapters] == [("style", 0.8), ("ink", 0.5)]


def test_an_adapter_at_an_address_is_fetched_once(client: Any, ledger: Ledger, elsewhere: str) -> None:
    for _ in range(2):
        client.run(APP, asked(loras=[{"path": "style"}, {"path": elsewhere, "scale": 0.5}]))
        used = newest(ledger).request.adapters
        assert [(one.name, one.version) for one in used] == [("style", 1), (name_of(elsewhere), 1)]


def test_nothing_is_fetched_for_what_is_wrong_anyway(
    client: Any, elsewhere: str, storage: Storage, redis: Redis
) -> None:
    many = [{"path": f"{elsewhere}?{number}"} for number in range(17)]
    for loras, said in (([{"path": elsewhere, "scale": "much"}], "number"), (many, "limit of 16")):
        with pytest.raises(fal_client.FalClientHTTPError, match=said):
            client.run(APP, asked(loras=loras))
    assert {one.name for one in Catalog(storage, redis).newest()} == {"style", "ink"}


def test_a_picture_is_begun_from(client: Any, ledger: Ledger) -> None:
    picture = Image.new("RGB", (64, 64), (200, 10, 10))
    picture.save(BytesIO(), "PNG")
    client.run(APP, asked(image_url=fal_client.encode_image(picture), strength=0.5))
    assert newest(ledger).request.init_image and newest(ledger).request.denoise == 0.5


def test_what_is_canceled_says_so(client: Any, ledger: Ledger) -> None:
    handle = client.submit(APP, asked(prompt=WAITS))
    handle.cancel()
    assert newest(ledger).status is Status.CANCELED
    assert "canceled" in handle.status().error
    with pytest.raises(fal_client.FalClientHTTPError, match="canceled") as told_so:
        handle.get()
    assert told_so.value.response.status_code == 422
    with pytest.raises(fal_client.FalClientHTTPError):
        handle.cancel()


def test_who_goes_away_has_it_canceled(client: Any, ledger: Ledger) -> None:
    with pytest.raises(httpx.TimeoutException):
        client.run(APP, asked(prompt=WAITS), timeout=1, start_timeout=60)
    until = time.monotonic() + 15
    while newest(ledger).status is not Status.CANCELED:
        assert time.monotonic() < until
        time.sleep(0.05)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("radiata/sdxl", {}, "sdxl"),
    ("others/model", {}, "others/model"),
    (APP, {"loras": [{"path": "nobody"}]}, "nobody"),
    (APP, {"loras": [{"path": "https://127.0.0.1:9/a.safetensors"}]}, "127.0.0.1"),
    (APP, {"loras": [{"path": "/etc/passwd"}]}, "/etc/passwd"),
    (APP, {"image_size": {"width": 63, "height": 64}}, "image_size.width"),
    (APP, {"image_size": "square_hd"}, "1024"),
    (APP, {"num_inference_steps": 9999}, "num_inference_steps"),
    (APP, {"image_url": "https://example.org/a.png"}, "image_url"),
    (APP, {"surprise": 1}, "surprise"),
    (APP, {"prompt": f"{FAILS}out_of_memory"}, "it has failed"),
]


def test_what_cannot_be_honoured_raises_the_clients_own_error(client: Any, ledger: Ledger) -> None:
    for name, more, words in REFUSED:
        with pytest.raises(fal_client.FalClientHTTPError, match=words):
            client.run(name, asked(**more))
    with pytest.raises(fal_client.FalClientHTTPError, match="no webhook is sent"):
        client.submit(APP, asked(), webhook_url="https://example.org/hook")
    assert len(ledger.list(9, None)[0]) == 1  # the one that has failed


def test_keys_are_taken_as_the_client_shows_them(
    storage: Storage, redis: Redis, settings: Settings, tls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Profiles(storage, settings).publish(profile(obeys={"output_format": True}), {"unet": {}})
    _, key = Keyring(storage).add(("draw",), owner="ada")
    with serving(settings.model_copy(update={"max_queued": 1}), **tls) as api:
        with made(api, monkeypatch) as stranger, pytest.raises(fal_client.FalClientHTTPError, match="key"):
            stranger.submit(APP, asked())
        with made(api, monkeypatch, key) as one:
            with pytest.raises(fal_client.FalClientHTTPError, match="scope upload"):
                one.submit(APP, asked(loras=[{"path": "https://example.org/a.safetensors"}]))
            one.submit(APP, asked())
            with pytest.raises(fal_client.FalClientHTTPError, match="wait for model"):
                one.submit(APP, asked())


def test_every_field_has_a_line_on_the_page() -> None:
    assert fields(FalRequest) <= told("fal.md")
    page = (PAGES / "fal.md").read_text("utf-8")
    assert all(f"| `{one}` " in page for one in ("X-Fal-Queue-Priority", "X-Fal-Request-Timeout", "X-Fal-Runner-Hint"))


def test_the_snippet_of_the_page_runs(client: Any) -> None:
    found = run("fal.md", {"fluent-3d-locon": "style"})["found"]
    fal_client.sync_client._client.close()
    assert httpx.get(found["images"][0]["url"]).content == b"picture 0"
