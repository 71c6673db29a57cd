"""The tools as commands: what they print, what they refuse with which exit code, and that nothing is half written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from app import cli
from app.commands.adapters import FILE_TOOLS
from lycoris import load
from lycoris.__main__ import main
from lycoris.files.safetensors_file import judge_file
from lycoris.patcher import StackEntry
from lycoris.tools.commands import STACK_ARGUMENT
from tests.lycoris import zoo
from tests.lycoris.measure import bits
from tests.lycoris.tools.folders import Encoder, patched, read, write

pytestmark = pytest.mark.slow


@pytest.fixture
def components() -> dict[str, nn.Module]:
    return {"unet": zoo.Model(), "text_encoder": Encoder()}


@pytest.fixture
def base(tmp_path: Path, components: dict[str, nn.Module]) -> str:
    return str(write(tmp_path / "base", components))


@pytest.fixture
def style(tmp_path: Path) -> str:
    layers = {
        f"lora_unet_layers_{kind}": zoo.tensors("lora", zoo.layer(kind).get_parameter("weight"))
        for kind in zoo.MATRICES
    }
    layers["lora_te_text_model_encoder_layers_0_mlp_fc1"] = zoo.tensors("lora", torch.empty(16, 8))
    (tmp_path / "style.safetensors").write_bytes(zoo.file(layers, {"modelspec.title": "<Style>"}))
    return str(tmp_path / "style.safetensors")


def test_a_strength_is_only_what_is_a_number() -> None:
    wanted = {
        "a.safetensors": ("a.safetensors", None, None),
        "a.safetensors=0.8": ("a.safetensors", "0.8", ""),
        "a=b.safetensors": ("a=b.safetensors", None, None),
        "a=b.safetensors=-1e-1": ("a=b.safetensors", "-1e-1", ""),
        "a=1,text_encoder=.5,unet=2": ("a", "1", ",text_encoder=.5,unet=2"),
    }
    for text, parts in wanted.items():
        found = STACK_ARGUMENT.fullmatch(text)
        assert found is not None
        assert (found["file"], found["strength"], found["parts"]) == parts


def test_merge(base: str, style: str, tmp_path: Path, components: dict[str, nn.Module], capsys) -> None:
    out = str(tmp_path / "out")
    assert main(["merge", base, f"{style}=0.8,text_encoder=0.25", "-o", out]) == 0
    assert "7 weights changed" in capsys.readouterr().out
    expected = patched(components, StackEntry(load(style), 0.8, {"text_encoder": 0.25}))
    assert {name: bits(weight) for name, weight in read(Path(out)).items()} == {n: bits(w) for n, w in expected.items()}
    assert main(["merge", base, style, "-o", out]) == 1
    output = capsys.readouterr().out
    assert "exists" in output
    assert "--force" in output
    assert main(["merge", base, style, "-o", out, "--force", "--mode", "sequential"]) == 0
    assert main(["merge", base, str(tmp_path / "gone"), "-o", str(tmp_path / "two")]) == 1
    assert "unreadable" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "out", "style.safetensors"]


def test_convert_there_and_to_a_lora(base: str, style: str, tmp_path: Path, capsys) -> None:
    out = str(tmp_path / "diffusers.safetensors")
    assert main(["convert", style, "--model", base, "--to", "diffusers", "-o", out]) == 0
    header = judge_file(out)
    assert all(name.endswith(("lora_A.weight", "lora_B.weight")) for name in header.entries)
    assert header.metadata["modelspec.title"] == "<Style>"
    umask = os.umask(0)
    os.umask(umask)
    assert Path(out).stat().st_mode & 0o777 == 0o666 & ~umask, "not readable as other files are"
    capsys.readouterr()
    lora = str(tmp_path / "lora.safetensors")
    assert main(["convert", out, "--model", base, "--to-lora", "--rank", "1", "-o", lora]) == 0
    output = capsys.readouterr().out
    assert "7 layers approximated, rank 1" in output
    assert "in total" in output
    assert load(lora).ranks == (1,)
    assert main(["inspect", lora, "--model", base]) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "{style}", "--model", "{base}", "-o", "x"],
        ["convert", "{style}", "--model", "{base}", "--to", "kohya", "--rank", "3", "-o", "x"],
        ["convert", "{style}", "--model", "{base}", "--to-lora", "-o", "x"],
        ["resize", "{style}", "-o", "x"],
        ["resize", "{style}", "--rank", "0", "-o", "x"],
        ["resize", "{style}", "--energy", "1.5", "-o", "x"],
        ["resize", "{style}", "--rank", "1", "--energy", "0.5", "-o", "x"],
        ["merge", "{base}", "-o", "x"],
    ],
)
def test_what_is_no_question(arguments: list[str], base: str, style: str, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        main([argument.format(base=base, style=style) for argument in arguments])
    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_resize_and_extract(base: str, style: str, tmp_path: Path, capsys) -> None:
    small, tuned, found = (str(tmp_path / name) for name in ("small.safetensors", "tuned", "found.safetensors"))
    assert main(["resize", style, "--rank", "2", "-o", small]) == 0
    assert load(small).ranks == (2,)
    assert main(["resize", style, "--rank", "2", "-o", small]) == 1
    assert main(["merge", base, small, "-o", tuned]) == 0
    assert main(["extract", tuned, base, "--energy", "0.9999", "-o", found]) == 0
    assert load(found).ranks == (2,)
    assert main(["extract", base, base, "--rank", "2", "-o", str(tmp_path / "none")]) == 1
    assert "do not differ" in capsys.readouterr().out


def test_anatomy(base: str, style: str, tmp_path: Path, capsys) -> None:
    svg = tmp_path / "style.svg"
    assert main(["anatomy", style, "--model", base, "--svg", str(svg)]) == 0
    assert "‖Δ‖/‖W‖" in capsys.readouterr().out
    assert "Where &lt;Style&gt; changes the model" in svg.read_text()
    assert main(["anatomy", style, "--svg", str(svg)]) == 1
    capsys.readouterr()
    assert main(["anatomy", style, "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert sum(numbers["kinds"].values()) == pytest.approx(1)
    assert numbers["relative"] is None


@pytest.mark.parametrize("bad", [b"", b"PK\x03\x04 pickle", b"\xff" * 40, zoo.file({"odd": {"tensor": torch.ones(1)}})])
def test_hostile_files_are_refused_by_every_tool(bad: bytes, base: str, tmp_path: Path, capsys) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(bad)
    before = sorted(tmp_path.rglob("*"))
    for arguments in (
        ["merge", base, str(path), "-o", str(tmp_path / "out")],
        ["convert", str(path), "--model", base, "--to", "kohya", "-o", str(tmp_path / "out")],
        ["convert", str(path), "--model", base, "--to-lora", "--rank", "1", "-o", str(tmp_path / "out")],
        ["resize", str(path), "--rank", "1", "-o", str(tmp_path / "out")],
        ["anatomy", str(path), "--svg", str(tmp_path / "out")],
    ):
        assert main(arguments) == 1, arguments
        assert "refused" in capsys.readouterr().out
    (tmp_path / "base" / "unet" / "more.safetensors").write_bytes(bad)
    assert main(["extract", base, base, "--rank", "1", "-o", str(tmp_path / "out")]) == 1
    (tmp_path / "base" / "unet" / "more.safetensors").unlink()
    assert sorted(tmp_path.rglob("*")) == before


def test_numbers_that_a_dtype_cannot_hold_are_refused(base: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "huge.safetensors").write_bytes(
        zoo.file({"lora_unet_layers_square": {"diff": torch.full((8, 8), 1e30)}})
    )
    arguments = ["convert", str(tmp_path / "huge.safetensors"), "--model", base, "--to-lora", "--rank", "2"]
    assert main([*arguments, "--dtype", "float16", "-o", str(tmp_path / "out")]) == 1
    assert "not_finite" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_factors_whose_product_is_not_finite_are_refused_by_every_tool(base: str, tmp_path: Path, capsys) -> None:
    factors = {"lora_up.weight": torch.full((8, 2), 1e30), "lora_down.weight": torch.full((2, 8), 1e30)}
    path = tmp_path / "huge.safetensors"
    path.write_bytes(zoo.file({"lora_unet_layers_square": factors}))
    for arguments in (
        ["merge", base, str(path), "-o", str(tmp_path / "out")],
        ["convert", str(path), "--model", base, "--to-lora", "--rank", "1", "-o", str(tmp_path / "out")],
        ["resize", str(path), "--rank", "1", "-o", str(tmp_path / "out"), "--dtype", "float16"],
        ["anatomy", str(path), "--model", base],
        ["anatomy", str(path)],
    ):
        assert main(arguments) == 1, arguments
        assert "not_finite" in capsys.readouterr().out, arguments
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "huge.safetensors"]


def test_a_reader_who_has_seen_enough_is_no_error(style: str) -> None:
    command = f"{sys.executable} -m lycoris anatomy {style} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.stderr == ""


def test_radiata_hands_the_words_on_as_they_are(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    executed: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, arguments: executed.append(arguments[1:]))
    words = ["a.safetensors", "--rank", "4", "-o", "b.safetensors", "--help"]
    for tool in FILE_TOOLS:
        result = CliRunner().invoke(cli.cli, ["adapters", tool, *words])
        assert result.exit_code == 0, result.output
    assert executed == [["-m", "lycoris", tool, *words] for tool in FILE_TOOLS]
    for tool in FILE_TOOLS:
        with pytest.raises(SystemExit) as end:
            main([tool, "--help"])
        assert end.value.code == 0


def test_pefts_folder_is_converted_with_the_scale_that_its_configuration_has(base: str, tmp_path: Path, capsys) -> None:
    peft, out = tmp_path / "peft", str(tmp_path / "kohya.safetensors")
    peft.mkdir()
    factors = zoo.tensors("lora", torch.empty(8, 12))
    tensors = {f"lora_{ab}.weight": factors[f"lora_{ud}.weight"] for ab, ud in (("A", "down"), ("B", "up"))}
    (peft / "adapter_model.safetensors").write_bytes(zoo.file({"base_model.model.layers.linear": tensors}))
    (peft / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": zoo.RANK, "lora_alpha": 12}))
    assert main(["resize", str(peft), "--rank", "1", "-o", out]) == 1
    assert "convert it first" in capsys.readouterr().out
    assert main(["convert", str(peft), "--model", base, "--to", "kohya", "-o", out]) == 0
    (layer,) = load(out).layers
    assert float(layer.changes["weight"].tensors()["alpha"]) == 12
    assert main(["resize", out, "--rank", "1", "-o", str(tmp_path / "small")]) == 0
    assert float(load(tmp_path / "small").layers[0].changes["weight"].tensors()["alpha"]) == 12 / zoo.RANK
