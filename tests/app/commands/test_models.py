"""`radiata models list|show|rm`: what is known, what names it, and files that go with it only where they are ours."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app import cli
from app.commands import models as model_commands
from app.shared.models_file import FETCHED, ModelsFile, fetched_folder
from tests.app.shared.making import profile
from tests.app.test_cli import answering


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder in which two models are named, one of them fetched."""
    monkeypatch.setenv("RADIATA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")
    own = tmp_path / "own"
    for place in (own, fetched_folder(tmp_path, "fetched")):
        place.mkdir(parents=True)
        ModelsFile(tmp_path).put(place.name, str(place))
    (fetched_folder(tmp_path, "fetched") / FETCHED).write_text("{}")
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.cli, ["models", *arguments])
    return result.exit_code, " ".join(result.output.split())


def test_every_model_is_listed_with_what_names_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = run("list")
    assert code == 0 and "emoji-64 (default) │ bundled:emoji-64 │ │ the default" in text
    assert f"own │ {folder}/own │ │ {folder}/models.json" in text
    monkeypatch.setenv("RADIATA_MODELS", json.dumps({"[red]x": "y"}))
    assert "no request can name '[red]x'" in run("list")[1]
    monkeypatch.setenv("RADIATA_MODELS", json.dumps({"own": {"source": "[red]", "vae": None}}))
    assert "own (default) │ [red] │ vae: left out │ RADIATA_MODELS" in run("list")[1]


def test_only_what_was_fetched_is_deleted_and_only_when_asked(folder: Path) -> None:
    assert run("rm", "own", "--files") == (
        0,
        f"own is forgotten; its files stay in {folder}/own `radiata models add` has not fetched them, so they are not "
        "deleted",
    )
    assert (folder / "own").is_dir()
    fetched = fetched_folder(folder, "fetched")
    assert run("rm", "fetched")[0] == 0 and fetched.is_dir()
    ModelsFile(folder).put("fetched", str(fetched))
    assert run("rm", "fetched", "--files") == (0, "fetched is forgotten") and not fetched.exists()
    code, text = run("rm", "emoji-64")
    assert code == 2 and "'emoji-64' is not in" in text and "the default names it" in text


def test_a_link_to_another_folder_is_not_followed_by_rm(folder: Path) -> None:
    fetched = fetched_folder(folder, "own")
    fetched.symlink_to(folder / "own")
    (folder / "own" / FETCHED).write_text("{}")
    assert run("rm", "own", "--files")[0] == 0 and (folder / "own").is_dir()


def test_a_model_is_shown_by_the_service_or_else_by_its_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(model_commands, "_looked_into", lambda *arguments: ran.append(arguments))
    code, text = run("show", "own", "--url", "http://127.0.0.1:9")
    assert code == 0 and f"{folder}/own, named by {folder}/models.json" in text and ran == [("look", "own")]
    served = {"models": [profile(name="own").model_dump(mode="json")], "default": "own", "not_ready_why": {}}
    content = json.dumps(served).encode()
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)) as where:
        assert "own (default)" in run("show", "own", "--url", where)[1] and len(ran) == 1
    assert run("show", "nobody")[0] == 2
    assert os.environ["RADIATA_DATA_DIR"] == str(folder)
