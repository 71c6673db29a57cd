"""`radiata models add`: a base is looked into and named, or a sentence says why not, and nothing is named."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import save_file
from typer.testing import CliRunner

from app.shared.models_file import FETCHED, ModelsFile, fetched_folder
from app.shared.settings import Settings
from tests.families import original
from tests.families.stable_diffusion import sd15
from tests.workers.models.a_hub import Hub, hub
from workers.models.commands import cli
from workers.models.loading import load


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder."""
    monkeypatch.setenv("RADIATA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "500")
    return tmp_path / "data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion 1.5, tiny."""
    at = tmp_path_factory.mktemp("commands") / "Tiny SD 1.5"
    sd15(at)
    return at


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, list(arguments))
    return result.exit_code, " ".join(result.output.split())


def test_a_folder_is_looked_into_and_named(data: Path, folder: Path) -> None:
    code, text = run("add", str(folder))
    assert code == 0 and "family StableDiffusion" in text and "obeys prompt, negative_prompt, width" in text
    assert "in memory 0.00 GB, in float32" in text and "stored F32" in text and "apply_modes auto (default)" in text
    assert f"tiny-sd-1.5 is in {data}/models.json" in text
    assert ModelsFile(data).read() == {"tiny-sd-1.5": str(folder)}
    assert run("add", str(folder))[0] == 0, "the same again is the same"
    assert run("look", "tiny-sd-1.5") == (0, text.partition(" tiny-sd-1.5 is in")[0])
    assert load("tiny-sd-1.5", Settings(data_dir=data, threads=1)).profile.name == "tiny-sd-1.5"  # type: ignore[call-arg]


def test_parts_from_elsewhere_are_named_with_it(data: Path, folder: Path) -> None:
    code, text = run("add", str(folder), "--name", "it", "--vae", str(folder / "vae"), "--dtype", "bfloat16")
    assert code == 0 and "in bfloat16" in text
    assert ModelsFile(data).read() == {"it": {"source": str(folder), "dtype": "bfloat16", "vae": str(folder / "vae")}}
    assert "names no part 'voe'" in run("add", str(folder), "--part", "voe=/a")[1]
    assert "`text_encoder` of" in run("add", str(folder), "--part", "text_encoder=")[1]


def test_what_cannot_be_served_is_not_named(data: Path, folder: Path, tmp_path: Path) -> None:
    half = Path(shutil.copytree(folder, tmp_path / "half"))
    shutil.rmtree(half / "vae")
    code, text = run("add", str(half))
    assert code == 1 and "has no folder 'vae'" in text and "Traceback" not in text
    config = json.loads((folder / "unet/config.json").read_text())
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    (other / "unet/config.json").write_text(json.dumps(config | {"cross_attention_dim": 64}))
    assert "the weights of unet in" in run("add", str(other))[1], "shapes are compared, and no weight is read"
    assert "there is no folder or file '/nowhere'" in run("add", "/nowhere")[1]
    assert "the default names a 'emoji-64'" in run("add", str(folder), "--name", "emoji-64")[1]
    assert run("look", "nobody")[0] == 1
    assert not data.exists()


def test_a_file_with_its_configurations_beside_it(data: Path, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "it", ignore=shutil.ignore_patterns("*.safetensors"))
    save_file(original.stable_diffusion(folder), tmp_path / "it.safetensors")
    code, text = run("add", str(tmp_path / "it.safetensors"))
    assert code == 0 and "family StableDiffusion" in text, text
    assert ModelsFile(data).read() == {"it": str(tmp_path / "it.safetensors")}


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path) -> Iterator[Hub]:
    """A hub that has that folder."""
    with hub() as one:
        files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        one.repositories["them/Tiny"] = files
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", one.url)
        template = f"{one.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        yield one


def test_a_repository_is_fetched_with_the_token_of_the_settings(
    data: Path, theirs: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs.gated["them/Tiny"] = "secret"
    code, text = run("add", "hf:them/Tiny")
    assert code == 1 and "is gated" in text and "set RADIATA_HUB_TOKEN" in text
    monkeypatch.setenv("RADIATA_HUB_TOKEN", "secret")
    code, text = run("add", "hf:them/Tiny@main", "--name", "tiny")
    place = fetched_folder(data, "tiny")
    assert code == 0 and "them/Tiny at cccccccccccc: " in text and "secret" not in text
    assert ModelsFile(data).read() == {"tiny": str(place)} and (place / FETCHED).is_file()
    assert load("tiny", Settings(data_dir=data, threads=1)).profile.pipeline == "StableDiffusionPipeline"  # type: ignore[call-arg]
