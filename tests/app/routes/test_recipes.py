"""The request that a picture means, over HTTP: from its text at once, from its file once intake has read it."""

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from redis import Redis
from typer.testing import CliRunner

from app.cli import cli
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.uploads import Uploads
from app.shared.wire.recipe import Written
from app.shared.wire.upload import UploadStatus
from tests.app.shared.making import MODEL

TEXT = f"a cat\nSteps: 4, Seed: 7, Model: {MODEL}, Whatever: 3"
MEANT = {"prompt": "a cat", "steps": 4, "seed": 7, "model": MODEL}
PATH = "/v1/images/recipe"


def png() -> bytes:
    info, buffer = PngInfo(), io.BytesIO()
    info.add_text("parameters", TEXT)
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


@pytest.fixture
def reader(storage: Storage, redis: Redis, settings: Settings) -> Iterator[None]:
    """Settles what waits, as intake does."""
    uploads, over = Uploads(storage, redis, settings), threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            for key in storage.keys("uploads"):
                if key.endswith(".json") and (one := uploads.waiting(key.split("/")[1].removesuffix(".json"))):
                    said = {"status": UploadStatus.ADMITTED, "written": Written(infotext=TEXT, width=8, height=8)}
                    uploads.settle(one.model_copy(update=said))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join(10)


def test_a_text(api: httpx.Client) -> None:
    found = api.post(PATH, json={"parameters": TEXT}).raise_for_status().json()
    assert found["request"] == MEANT and found["found"]["source"] == "infotext"
    assert [one["name"] for one in found["unmatched"]] == ["Whatever"]


def test_a_file(api: httpx.Client, reader: None) -> None:
    found = api.post(PATH, files={"file": png()}).raise_for_status().json()
    assert (found["request"], found["found"]["width"]) == (MEANT, 8)
    later = api.post(PATH, files={"file": png()}, headers={"Prefer": "respond-async"})
    assert later.status_code == 202
    until = time.monotonic() + 10
    while (answer := api.get(later.headers["Location"])).status_code == 202:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert answer.json() == found


@pytest.mark.parametrize("body", [{}, {"parameters": ""}, {"parameters": "  \n"}, {"parameters": 3}, {"text": "x"}])
def test_what_is_no_text_is_refused(api: httpx.Client, body: dict[str, object]) -> None:
    answer = api.post(PATH, json=body)
    assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] in ("/parameters", "/text")


def test_an_empty_file_is_refused(api: httpx.Client) -> None:
    assert api.post(PATH, files={"file": b""}).json()["code"] == "image_empty"
    assert api.get(f"{PATH}/{'0' * 32}").json()["code"] == "upload_unknown"


def test_the_command(api: httpx.Client, reader: None, tmp_path: Path) -> None:
    for name, data in (("a.png", png()), ("a.txt", TEXT.encode())):
        (tmp_path / name).write_bytes(data)
        told = CliRunner().invoke(cli, ["recipe", str(tmp_path / name), "--url", str(api.base_url)])
        assert told.exit_code == 0, told.output
        assert '"prompt": "a cat"' in told.stdout and "Whatever" in told.stderr
