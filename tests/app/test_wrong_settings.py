"""Settings that are wrong end every command alike: a sentence that names the variable, status 2, no traceback."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.shared.environment import SOCKETS
from app.supervisor import Service
from workers.__main__ import cli as workers

pytestmark = pytest.mark.slow

COMMANDS = {
    "up": (cli, ["up"]),
    "api": (cli, ["api"]),
    "demo": (cli, ["demo"]),
    "worker": (workers, ["generate"]),
    "worker --intake": (workers, ["intake"]),
    "generate": (cli, ["generate", "a fox"]),
    "adapters list": (cli, ["adapters", "list"]),
    "adapters add": (cli, ["adapters", "add", __file__]),
    "adapters inspect": (cli, ["adapters", "inspect", "x.safetensors"]),
}
WRONG = {
    "a misspelt name": ("RADIATA_PROT", "1234"),
    "another misspelt name": ("RADIATA_MAX_STEP", "3"),
    "a name in small letters": ("radiata_port", "1234"),
    "no number": ("RADIATA_PORT", "abc"),
    "a port that is none": ("RADIATA_PORT", "70000"),
    "the address of a Service": ("RADIATA_PORT", "tcp://10.0.0.1:8000"),
    "a host that is none": ("RADIATA_HOST", "no.such.host.invalid"),
    "redis without a scheme": ("RADIATA_REDIS_URL", "localhost:6379"),
    "redis without a host": ("RADIATA_REDIS_URL", "redis://"),
    "a port of redis that is none": ("RADIATA_REDIS_URL", "redis://:hunter2@localhost:abc"),
    "storage that is a path": ("RADIATA_STORAGE_URL", "/srv/pictures"),
    "storage of a misspelt kind": ("RADIATA_STORAGE_URL", "s4://bucket"),
    "storage without a bucket": ("RADIATA_STORAGE_URL", "s3://"),
    "storage of one process alone": ("RADIATA_STORAGE_URL", "memory:///"),
    "storage in a folder that cannot be made": ("RADIATA_STORAGE_URL", f"file://{__file__}/store"),
    "a data folder in a file": ("RADIATA_DATA_DIR", f"{__file__}/data"),
    "a device that is none": ("RADIATA_DEVICE", "gpu"),
    "models that are no JSON": ("RADIATA_MODELS", "sd15=/models"),
    "models that are no object": ("RADIATA_MODELS", "[1]"),
    "a model named twice": ("RADIATA_MODELS", '{"sd15": "/models/a", "sd15": "/models/b"}'),
    "a model named with a slash": ("RADIATA_MODELS", '{"stabilityai/sd15": "/models/a"}'),
    "no models": ("RADIATA_MODELS", "{}"),
    "a default model that is none": ("RADIATA_DEFAULT_MODEL", "nobody"),
    "no number of seconds": ("RADIATA_UPLOAD_WAIT_S", "nan"),
    "neither yes nor no": ("RADIATA_OPEN", "perhaps"),
}


@pytest.mark.parametrize(("variable", "value"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_setting_ends_every_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, variable: str, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, value)
    program, arguments = COMMANDS[command]
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 2, result.output
    assert variable in result.output and "hunter2" not in result.output
    assert len(result.output.splitlines()) == 1 and isinstance(result.exception, SystemExit), result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["app.cli", "up"], ["app.cli", "worker"], ["workers", "intake"]], ids=str)
def test_a_program_ends_so_too(tmp_path: Path, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=tmp_path,
        env={**os.environ, "RADIATA_PROT": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "settings: RADIATA_PROT is no setting; did you mean RADIATA_PORT?\n"


@pytest.mark.parametrize("command", ["up", "api", "worker", "worker --intake"])
def test_a_default_folder_that_cannot_be_made_is_a_setting_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").write_text("a file where the folder would be")
    program, arguments = COMMANDS[command]
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 2 and "RADIATA_DATA_DIR" in result.output, result.output


@pytest.mark.parametrize("command", ["api", "worker", "worker --intake"])
def test_without_a_redis_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RADIATA_PORT", "0")
    program, arguments = COMMANDS[command]
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 2 and "RADIATA_REDIS_URL" in result.output, result.output


@pytest.mark.parametrize("command", ["up", "api", "demo"])
@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({"RADIATA_HOST": "0.0.0.0"}, "RADIATA_OPEN=1"),
        ({"RADIATA_HOST": "::"}, "RADIATA_OPEN=1"),
        ({"RADIATA_HOST": "192.0.2.1"}, "RADIATA_OPEN=1"),
        ({"RADIATA_HOST": "192.0.2.1", "RADIATA_OPEN": "0"}, "RADIATA_OPEN=1"),
        ({"RADIATA_HOST": "192.0.2.1", "RADIATA_OPEN": "1"}, "RADIATA_HOST"),
    ],
    ids=str,
)
def test_nobody_listens_where_others_reach_without_leave(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, environment: dict[str, str], variable: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in ({"RADIATA_PORT": "0", "RADIATA_REDIS_URL": "redis://localhost:1"} | environment).items():
        monkeypatch.setenv(name, value)
    program, arguments = COMMANDS[command]
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 2 and variable in result.output, result.output


@pytest.mark.parametrize("command", ["up", "api"])
def test_a_port_that_another_has_ends_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv("RADIATA_PORT", str(port))
        monkeypatch.setenv("RADIATA_REDIS_URL", "redis://localhost:1")
        program, arguments = COMMANDS[command]
        result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 2 and f"RADIATA_PORT: {port} is in use" in result.output, result.output


def test_nobody_else_can_answer_where_a_service_is(service: Service) -> None:
    """Another Radiata's API, even while this one's is being started again."""
    port = service.url.rpartition(":")[2]
    own = {"RADIATA_DATA_DIR": str(service.settings.data_dir), "RADIATA_REDIS_URL": service.redis_url}
    environment = {**os.environ, **own, "RADIATA_PORT": port}
    environment.pop(SOCKETS, None)
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "api"], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2 and f"{port} is in use" in done.stderr, done.stderr
