"""A base from a hub: only what it needs is fetched, after a kill what is missing, and a refusal is a sentence."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from app.shared.models_file import FETCHED
from tests.workers.models.a_hub import COMMIT, Hub, hub
from workers.models import fetching
from workers.models.fetching import fetch
from workers.models.hub import Chosen, NotFetched, Wanted, chosen, wanted_of

BUNDLED = Path(__file__).parents[3] / "workers/models/emoji-64"
MODEL = "them/Their-Model"
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "image_encoder": [None, None],
    "../x": ["diffusers", "UNet2DConditionModel"],
}
NEEDED = {
    "model_index.json": json.dumps(INDEX).encode(),
    "unet/config.json": b"{}",
    "unet/diffusion_pytorch_model.safetensors": b"w" * 300_000,
    "text_encoder/config.json": b"{}",
    "text_encoder/model.safetensors.index.json": b"{}",
    "text_encoder/model-00001-of-00002.safetensors": b"1" * 100,
    "text_encoder/model-00002-of-00002.safetensors": b"2" * 100,
    "tokenizer/vocab.json": b"{}",
    "tokenizer/merges.txt": b"a b",
    "tokenizer/spiece.model": b"s",
}
LEFT = {
    "model.safetensors": b"all of it",
    "README.md": b"",
    "unet/diffusion_pytorch_model.bin": b"",
    "unet/diffusion_pytorch_model.fp16.safetensors": b"h" * 100,
    "unet/model.onnx": b"",
    "unet/deeper/config.json": b"{}",
    "text_encoder/model.fp16.safetensors": b"h",
    "text_encoder/model.safetensors.index.fp16.json": b"{}",
    "safety_checker/config.json": b"{}",
    "image_encoder/config.json": b"{}",
    "../x/config.json": b"{}",
}


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub with one repository; this process asks it, and keeps no cache."""
    with hub() as one:
        one.repositories[MODEL] = NEEDED | LEFT
        monkeypatch.setattr(constants, "ENDPOINT", one.url)
        template = f"{one.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield one


def had(what: Chosen, folder: Path, token: str | None = None) -> list[tuple[str, int, int]]:
    told: list[tuple[str, int, int]] = []
    fetch(what, folder, token, lambda *one: told.append(one))
    return told


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("hf:a/b", Wanted("a/b", None, None)),
        ("hf:a/b.c@main", Wanted("a/b.c", None, "main")),
        ("hf:a/b@refs/pr/1", Wanted("a/b", None, "refs/pr/1")),
        ("hf:a/b/c/d.gguf@v1", Wanted("a/b", "c/d.gguf", "v1")),
        ("hf:a", None),
        ("a/b", None),
    ],
)
def test_a_source_on_a_hub_is_read(source: str, wanted: Wanted | None) -> None:
    assert wanted_of(source) == wanted


def test_only_what_is_needed_is_fetched(theirs: Hub, tmp_path: Path) -> None:
    what = chosen(Wanted(MODEL, None, None), None, None)
    assert what.files == {name: len(data) for name, data in NEEDED.items()} and what.commit == COMMIT
    told = had(what, tmp_path / "new")
    found = {str(file.relative_to(tmp_path / "new")): file.read_bytes() for file in (tmp_path / "new").rglob("*.*")}
    said = json.loads(found.pop(FETCHED))
    assert found == NEEDED and said["repository"] == MODEL and said["commit"] == COMMIT
    assert {name: there for name, there, _ in told} == what.files
    theirs.asked.clear()
    had(what, tmp_path / "new")
    assert theirs.asked == [], "what is there is not fetched again"


def test_a_variant_is_taken_where_it_is_asked_for(theirs: Hub) -> None:
    files = {*chosen(Wanted(MODEL, None, None), "fp16", None).files}
    assert {name for name in files if "fp16" in name} == {name for name in LEFT if "fp16" in name}
    assert not {name for name in NEEDED if name in files and name.endswith("safetensors")}
    theirs.repositories[MODEL].pop("unet/diffusion_pytorch_model.safetensors")
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in chosen(Wanted(MODEL, None, None), None, None).files
    theirs.repositories[MODEL] |= {"unet/diffusion_pytorch_model.bf16.safetensors": b""}
    with pytest.raises(NotFetched, match="the weights of unet as bf16, fp16: name one by --variant"):
        chosen(Wanted(MODEL, None, None), None, None)


def test_one_file_of_a_repository(theirs: Hub, tmp_path: Path) -> None:
    what = chosen(Wanted(MODEL, "model.safetensors", COMMIT), None, None)
    assert fetch(what, tmp_path, None, lambda *_: None).read_bytes() == b"all of it"


REFUSED = {
    "another repository": (Wanted("no/body", None, None), None, "there is no no/body on .* set RADIATA_HUB_TOKEN"),
    "another revision": (Wanted(MODEL, None, "v9"), None, r"answers 404 for .*\(revision v9\)"),
    "another file": (Wanted(MODEL, "a.gguf", None), None, "has no file 'a.gguf'; it has model.safetensors: name one"),
    "no folder": (Wanted("them/file", None, None), None, "no model_index.json.*; it has a.gguf: name one"),
    "pickles": (Wanted("them/pickles", None, None), None, "weights of unet as pickles alone"),
    "gated": (Wanted("them/gated", None, None), None, "is gated: accept its terms at .*; then set RADIATA_HUB_TOKEN"),
    "gated for us": (
        Wanted("them/gated", None, None),
        "no",
        "is gated: .* RADIATA_HUB_TOKEN is not allowed to read it",
    ),
    "no name": (Wanted("a--b/c", None, None), None, "'a--b/c' is no name of a repository"),
    "not JSON": (Wanted("them/broken", None, None), None, "cannot be had"),
    "no object": (Wanted("them/list", None, None), None, "model_index.json is no object"),
}


@pytest.mark.parametrize(("wanted", "token", "why"), REFUSED.values(), ids=REFUSED)
def test_what_a_hub_refuses_is_a_sentence(theirs: Hub, wanted: Wanted, token: str | None, why: str) -> None:
    index = {"model_index.json": json.dumps(INDEX).encode()}
    theirs.repositories |= {
        "them/gated": NEEDED,
        "them/file": {"a.gguf": b""},
        "them/pickles": index | {"unet/diffusion_pytorch_model.bin": b""},
        "them/broken": {"model_index.json": b"{"},
        "them/list": {"model_index.json": b"[]"},
    }
    theirs.gated["them/gated"] = "yes"
    with pytest.raises(NotFetched, match=why) as refused:
        chosen(wanted, None, token)
    assert "\n" not in str(refused.value)


def test_a_gated_repository_is_read_with_its_token(theirs: Hub, tmp_path: Path) -> None:
    theirs.gated[MODEL] = "yes"
    what = chosen(Wanted(MODEL, None, None), None, "yes")
    had(what, tmp_path / "new", "yes")
    assert (tmp_path / "new" / "unet/config.json").is_file()


def test_a_disk_that_is_too_small_is_told_before(theirs: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    what = chosen(Wanted(MODEL, None, None), None, None)
    theirs.asked.clear()
    small = shutil.disk_usage(tmp_path)._replace(free=fetching.SPARE_BYTES + 200_000)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: small)
    with pytest.raises(NotFetched, match=r"needs 0\.0 GB more .* free: free some, or set RADIATA_DATA_DIR"):
        had(what, tmp_path / "new")
    assert theirs.asked == []
    weights = tmp_path / "new" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(NEEDED["unet/diffusion_pytorch_model.safetensors"])
    had(what, tmp_path / "new")


def test_other_bytes_than_the_hub_says_are_not_taken(theirs: Hub, tmp_path: Path) -> None:
    what = chosen(Wanted(MODEL, None, None), None, None)
    theirs.lies = True
    with pytest.raises(NotFetched, match=r"unet/config\.json of \S+ came with other bytes than the hub says"):
        had(what, tmp_path / "new")
    assert not [*(tmp_path / "new").rglob("config.json")]
    theirs.lies = False
    had(what, tmp_path / "new")


FETCH = """
import sys
from pathlib import Path
from workers.models.fetching import fetch
from workers.models.hub import chosen, wanted_of
fetch(chosen(wanted_of(sys.argv[1]), None, None), Path(sys.argv[2]), None, lambda *one: print(*one, flush=True))
"""


def test_after_a_kill_in_the_middle_the_rest_is_fetched(theirs: Hub, tmp_path: Path) -> None:
    big = "unet/diffusion_pytorch_model.safetensors"
    theirs.repositories[MODEL][big] = whole = os.urandom(24 * 1024**2)
    environment = os.environ | {"HF_ENDPOINT": theirs.url, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", FETCH, f"hf:{MODEL}", str(tmp_path / "new")]
    theirs.pause_s = 0.005
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout
        for line in first.stdout:
            if line.startswith(big):
                break
        time.sleep(0.2)
        first.send_signal(signal.SIGKILL)
    (unfinished,) = (tmp_path / "new").rglob("*.part")
    assert 0 < unfinished.stat().st_size < len(whole)
    theirs.pause_s = 0
    theirs.asked.clear()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=120)
    assert (tmp_path / "new" / big).read_bytes() == whole
    (again,) = (asked for name, asked in theirs.asked if name == big)
    assert again and int(again.removeprefix("bytes=").partition("-")[0]) >= 1024**2
    assert "model_index.json" not in [name for name, _ in theirs.asked][1:]
