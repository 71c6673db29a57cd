"""`radiata train`, run in this process on the small base."""

from pathlib import Path
from unittest.mock import Mock

import pytest
from PIL import Image
from typer.testing import CliRunner

from app.accepting.foretelling import told
from app.shared.datasets import DatasetPicture
from app.shared.settings import read_settings
from app.shared.training_memory import amount
from lycoris import load
from lycoris.training.plan import plan
from tests.app.shared.making import training_request
from tests.families.registry import FAMILIES
from tests.workers.training.trained import picture
from workers.models.loading import load as load_base
from workers.models.trainable import base_layers
from workers.training.__main__ import app

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four pictures with captions, and the settings that name the base."""
    FAMILIES["sd-1.5"].build(tmp_path / "base")
    monkeypatch.setenv("RADIATA_MODELS", f'{{"small": "{tmp_path / "base"}"}}')
    monkeypatch.setenv("RADIATA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("RADIATA_THREADS", "1")
    pictures = tmp_path / "10_blocks"
    pictures.mkdir()
    for number in range(4):
        picture(number, (512, 520)).load().save(pictures / f"{number}.png")
        (pictures / f"{number}.txt").write_text(f"blocks of kind {number}")
    return pictures


def test_the_same_command_goes_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    arguments = ["run", str(folder), "--algorithm", "lokr", "--rank", "2", "--layer", "unet.mid_block*", "-o", str(out)]
    arguments += ["--option", "factor=4", "--learning-rate", "0.01"]
    dry = CliRunner().invoke(app, [*arguments, "--steps", "5", "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert not out.exists() and not (tmp_path / "a.safetensors.training" / "checkpoints").exists()
    for said in ("γ", "alpha 2 / rank 2", "0.125 epochs", "64×64: 4", "0.png (0, 4, 512, 516)"):
        assert said in dry.output
    first = CliRunner().invoke(app, [*arguments, "--steps", "1"])
    assert first.exit_code == 0, first.output
    one = out.read_bytes()
    second = CliRunner().invoke(app, [*arguments, "--steps", "2", "--sample", "a red apple"])
    assert second.exit_code == 0 and "going on after step 1" in second.output, second.output
    assert load(out).layers and out.read_bytes() != one
    with Image.open(next((tmp_path / "a.safetensors.training").glob("sample-*.png"))) as sample:
        assert sample.size == (64, 64)


def test_a_dry_run_tells_the_memory_that_the_service_does(folder: Path, tmp_path: Path) -> None:
    asked = {"algorithm": "locon", "rank": 2, "batch_size": 2, "steps": 5, "gradient_checkpointing": False}
    arguments = ["run", str(folder), "--algorithm", "locon", "--rank", "2", "--batch-size", "2", "--steps", "5"]
    arguments += ["--no-gradient-checkpointing", "--dry-run", "-o", str(tmp_path / "a.safetensors")]
    dry = CliRunner().invoke(app, arguments)
    base = load_base("small", read_settings())
    pictures = [DatasetPicture(ref=f"image:{0:064x}", caption="", width=512, height=520, name="0.png")]
    denoiser, layers = base.denoiser(), base_layers("", base.pipeline, base.components)
    request, paces = training_request(**asked), Mock(seconds=Mock(return_value=(None, None)))
    found = told(request, plan("locon", 2), layers, pictures, base.profile, paces, {}, denoiser and denoiser.pixels)
    said = " ".join(dry.output.split())
    assert f"about {amount(found.memory_bytes)}:" in said, dry.output
    assert f"about {amount(found.activation_bytes)} for activations" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--algorithm", "ia3", "--rank", "4"], "rank"),
        (["--algorithm", "nothing"], "none that is known"),
        (["--rank", "0"], "rank"),
        (["--layer", "unet.nowhere*"], "names no layer"),
        (["--weighting-scheme", "mode"], "weighting_scheme"),
        (["--model", "nowhere"], "no model"),
        (["--keep-tokens", "2"], "shuffle_caption"),
    ],
)
def test_a_refusal_is_a_sentence(arguments: list[str], said: str, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    ended = CliRunner().invoke(app, ["run", str(folder), "--steps", "2", "-o", str(out), *arguments])
    assert ended.exit_code in (1, 2) and said in ended.output.replace("\n", " "), ended.output
    assert "Traceback" not in ended.output and not out.exists()
