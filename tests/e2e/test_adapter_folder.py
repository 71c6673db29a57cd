"""A folder as other tools have one, into a running service: linked, judged line by line, gone on with after a kill."""

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from PIL import Image
from safetensors.torch import load, save
from typer.testing import CliRunner

from app.cli import cli
from app.shared.catalog import file_key
from app.supervisor import Service
from tests import samples


def command(service: Service, folder: Path) -> tuple[list[str], dict[str, str]]:
    environment = os.environ | {"RADIATA_DATA_DIR": str(service.settings.data_dir), "COLUMNS": "400"}
    return [sys.executable, "-m", "app.cli", "adapters", "add", str(folder), "--url", service.url], environment


def added(service: Service, folder: Path) -> tuple[int, list[str]]:
    arguments, environment = command(service, folder)
    done = CliRunner().invoke(cli, arguments[3:], env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout.splitlines()


def other(mark: str) -> bytes:
    """An adapter that nobody has, of another hash for each mark."""
    return save(load(samples.file("locon")), {"mark": mark})


@pytest.fixture
def loras(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Three adapters, two of one name, with what other tools keep beside them; a file that is none, and other files."""
    folder, mark = tmp_path / "models" / "Lora", request.node.name
    (folder / "deeper").mkdir(parents=True)
    (folder / "My Löra (v1).safetensors").write_bytes(other(f"{mark}-1"))
    (folder / "My Löra (v1).civitai.info").write_text('{"trainedWords": ["lily"], "description": "<b>red</b>"}')
    Image.new("RGB", (48, 32), (200, 0, 0)).save(folder / "My Löra (v1).preview.png")
    (folder / "deeper" / "c.png").write_bytes(b"no picture")
    (folder / "deeper" / "My Löra (v1).safetensors").write_bytes(other(f"{mark}-2"))
    (folder / "deeper" / "c.safetensors").write_bytes(other(f"{mark}-3"))
    (folder / "broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0nonsense")
    (folder / "old.pt").write_bytes(b"PK")
    return folder


def test_a_folder_is_added_once(service: Service, http: httpx.Client, loras: Path) -> None:
    status, lines = added(service, loras)
    assert status == 1 and lines[-1] == "4 files: 3 added, 0 there, 1 refused; 1 files are no safetensors and were left"
    told = {line.partition(": ")[0]: line for line in lines}
    assert "not an adapter" in told["refused broken.safetensors"]
    first = http.get("/v1/adapters/my-l-ra-v1").json()
    assert first["description"] == "Trigger words: lily. red" and first["fits"] == ["emoji-64"]
    cover = http.get(f"/v1/images/{first['cover']}")
    assert Image.open(io.BytesIO(cover.content)).size == (48, 32) and told["added My Löra (v1).safetensors"].endswith(
        "1 trigger words, a cover"
    )
    assert (
        "a cover that is not kept" in told["added deeper/c.safetensors"]
        and http.get("/v1/adapters/c").json()["cover"] is None
    )
    digest = hashlib.sha256((loras / "deeper" / "My Löra (v1).safetensors").read_bytes()).hexdigest()
    assert http.get(f"/v1/adapters/sha256:{digest}").json()["name"] == f"my-l-ra-v1-{digest[:7]}"
    store = service.settings.data_dir / "store"
    kept = store / file_key(digest)
    assert kept.samefile(loras / "deeper" / "My Löra (v1).safetensors") or "reflink" in lines[-2], "no second copy"
    assert not [*(store / "uploads").iterdir()], "what was linked and refused is not left behind"
    status, lines = added(service, loras)
    assert status == 1 and lines[-1].startswith("4 files: 0 added, 3 there, 1 refused")
    (loras / "broken.safetensors").unlink()
    assert added(service, loras)[0] == 0
    shutil.rmtree(loras)
    assert hashlib.sha256(http.get(f"/v1/adapters/sha256:{digest}/file").content).hexdigest() == digest


def test_killed_it_goes_on(service: Service, loras: Path) -> None:
    arguments, environment = command(service, loras)
    with subprocess.Popen(arguments, env=environment | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE) as first:
        assert first.stdout
        while not first.stdout.readline().startswith(b"added"):
            pass
        first.send_signal(signal.SIGKILL)
    _, lines = added(service, loras)
    there = sum(line.startswith("there") for line in lines)
    assert there >= 1 and lines[-1].startswith(f"4 files: {3 - there} added, {there} there, 1 refused")


def test_a_service_over_another_store_is_sent_the_bytes(
    service: Service, loras: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, environment = command(service, loras)
    (tmp_path / "mine" / "store").mkdir(parents=True)
    (tmp_path / "mine" / "store" / "store.json").write_text("{}")
    environment["RADIATA_DATA_DIR"] = str(tmp_path / "mine")
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=300)
    assert "4 files: 3 added, 0 there, 1 refused" in done.stdout and done.stdout.count(", sent") == 3
    assert not [*(tmp_path / "mine" / "store" / "uploads").iterdir()]
