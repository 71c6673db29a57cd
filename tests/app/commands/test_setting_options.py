"""Every setting is a flag, over which no variable goes; `radiata config` says what is in force and what says so."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from app import cli
from app.commands import setting_options
from app.commands.setting_options import GROUPS, option_of, with_settings
from app.shared.environment import variable
from app.shared.settings import Settings, read_settings

SAID = {  # another value of each setting that is no text
    "port": "9001",
    "models": '{"a": "bundled:emoji-64"}',
    "preprocessors": '{"depth": "/models/depth"}',
    "allowed_hosts": "a.example.org,b.example.org",
}


def config(*arguments: str) -> dict[str, dict[str, object]]:
    result = CliRunner().invoke(cli.cli, ["config", "--json", *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(variable(name), raising=False)


@pytest.mark.parametrize("command", ["up", "api", "worker", "config"])
def test_every_setting_has_its_flag_with_its_sentence(command: str) -> None:
    result = CliRunner().invoke(cli.cli, [command, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0 and all(f"─ {group} ─" in result.output for group in GROUPS), result.output
    options = {one.opts[0]: one for one in get_command(cli.cli).commands[command].params}  # type: ignore[attr-defined]
    for name, field in Settings.model_fields.items():
        assert options[option_of(name)].help.startswith(field.description), name


@pytest.mark.parametrize(("name", "text"), SAID.items())
def test_a_flag_goes_over_the_environment_and_is_judged_as_it(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(variable(name), text)
    of_environment = config()[name]
    assert of_environment["from"] == "environment" and of_environment["by"] == variable(name)
    monkeypatch.setenv(variable(name), "9999" if name == "port" else "")
    of_flag = config(option_of(name), text)[name]
    assert of_flag == {"value": of_environment["value"], "from": "flag", "by": option_of(name)}
    assert os.environ[variable(name)] == ("9999" if name == "port" else ""), "it is in force for its command alone"


def test_what_nobody_has_set_is_the_default() -> None:
    found = config()
    assert {one["from"] for one in found.values()} == {"default"} and found.keys() == Settings.model_fields.keys()
    assert config("--changed") == {} and config("--changed", "--open").keys() == {"open"}
    assert CliRunner().invoke(cli.cli, ["config", "--host", "localhost"]).output.count("--host") == 1


def test_models_of_the_data_folder_say_so(tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text('{"b": "bundled:emoji-64"}')
    found = config("--data-dir", str(tmp_path))
    assert found["models"]["from"] == "file" and found["models"]["by"] == str(tmp_path / "models.json")


def test_bases_are_named_or_called_as_their_files_are() -> None:
    given = ["a=bundled:emoji-64", "bundled:emoji-64", "/models/xl.safetensors", "hub/sd-1.5", "b=hub/x=y"]
    found = config(*(word for one in given for word in ("--model", one)))
    assert found["models"] == {
        "value": {
            "a": "bundled:emoji-64",
            "emoji-64": "bundled:emoji-64",
            "xl": "/models/xl.safetensors",
            "sd-1.5": "hub/sd-1.5",
            "b": "hub/x=y",
        },
        "from": "flag",
        "by": "--model",
    }
    for wrong in (["--model", "=x"], ["--model", "a=x", "--model", "a=y"], ["--model", "a=x", "--models", "{}"]):
        assert CliRunner().invoke(cli.cli, ["config", *wrong]).exit_code == 2


@pytest.mark.parametrize("command", ["up", "api", "worker", "config"])
def test_a_wrong_flag_is_told_as_it_was_typed(command: str) -> None:
    for flags, sentence in {
        ("--port", "many"): "settings: --port: ",
        ("--data-dir", f"{__file__}/data"): "settings: --data-dir: ",
        ("--model", "a/b=c"): "settings: --model: ",
        ("--pristine", "never"): "settings: --pristine: ",
    }.items():
        result = CliRunner().invoke(cli.cli, [command, *flags])
        assert result.exit_code == 2 and result.output.startswith(sentence), result.output
        assert len(result.output.splitlines()) == 1
    assert CliRunner().invoke(cli.cli, [command, "--prot", "1"]).exit_code == 2


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADIATA_HUB_TOKEN", "hunter2-hub")
    monkeypatch.setenv("RADIATA_REDIS_URL", "redis://me:hunter2@localhost/0")
    monkeypatch.setenv("RADIATA_OTEL_ENDPOINT", "https://me:hunter2@collector.example.org")
    for arguments in (["config"], ["config", "--json"]):
        shown = CliRunner().invoke(cli.cli, arguments, env={"COLUMNS": "300"}).output
        assert "hunter2" not in shown and "collector.example.org" in shown


def test_what_is_given_reaches_the_processes_that_a_command_starts() -> None:
    app = typer.Typer()

    @app.command()
    @with_settings
    def look() -> None:
        assert read_settings().threads == 3
        done = subprocess.run(
            [sys.executable, "-c", "import os; print(os.environ['RADIATA_THREADS'])"], capture_output=True, check=True
        )
        assert done.stdout == b"3\n" and setting_options.given_by("threads") == "--threads"

    result = CliRunner().invoke(app, ["--threads", "3"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "RADIATA_THREADS" not in os.environ and setting_options.given_by("threads") is None
