"""`python -m lycoris inspect`: the same judgement, for people and for programs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lycoris import inspect
from lycoris.__main__ import main
from tests.lycoris import zoo

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A diffusers folder, as far as names and shapes go."""
    (tmp_path / "model" / "unet").mkdir(parents=True)
    state = {name: weight.detach() for name, weight in zoo.Model().named_parameters()}
    safetensors.torch.save_file(state, tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors")
    return tmp_path / "model"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "style.safetensors"
    path.write_bytes(next(zoo.adapters(zoo.Model(), 1)))
    return path


def test_a_sound_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(file)]) == 0
    output = capsys.readouterr().out
    assert f"{file}: sound" in output
    assert str(inspect(file).sha256) in output


def test_against_a_model(file: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(file), "--model", str(folder)]) == 0
    assert "accepted" in capsys.readouterr().out
    assert main(["inspect", str(file), "--model", str(folder), "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict == json.loads(json.dumps(inspect(file, {"unet": zoo.Model()}).as_dict()))


def test_refused_with_every_reason(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.safetensors"
    tensors = {
        "lora_unet_layers_linear.diff": torch.ones(3, 3),
        "lora_unet_gone.diff": torch.ones(2),
        "odd": torch.ones(1),
    }
    safetensors.torch.save_file(tensors, path)
    assert main(["inspect", str(path), "--model", str(folder)]) == 1
    output = capsys.readouterr().out
    assert all(
        word in output for word in ("refused", "unet.layers_linear", "unet.gone", "odd", "unknown_tensor", "misfit")
    )
    assert main(["inspect", str(path), "--model", str(folder), "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["reasons"]) == 3
    assert main(["inspect", str(path), "--ignore", "odd", "--ignore", "*gone*"]) == 0
    assert "ignored: odd" in capsys.readouterr().out


def test_a_folder_that_is_no_model(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(file), "--model", str(tmp_path / "nowhere")]) == 1
    assert "no component folder" in capsys.readouterr().out


def test_as_a_command(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"PK\x03\x04 and more")
    run = subprocess.run(
        [sys.executable, "-m", "lycoris", "inspect", str(path)], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 1
    assert "pickle" in run.stdout
    assert run.stderr == ""
