"""The queue of docker-compose.yml, run for real: its user can do all that the service does, and nothing else."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from redis import Redis
from redis.exceptions import ResponseError

from tests import samples
from tests.conftest import running
from tests.e2e.drawing import draw, post, upload, wait
from tests.valkeys import sentinel, valkey

COMPOSE = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text())
PASSWORD = "secret"
WATCH = ("--user", "watch", "on", ">watched", "~*", "&*", "+@all", "--masteruser", "watch", "--masterauth", "watched")


def filled(text: str) -> str:
    """A value of the compose file, with the password that would stand in `.env`."""
    return re.sub(r"\$\{REDIS_PASSWORD:\?[^}]*\}", PASSWORD, text)


_, *COMMAND = map(filled, COMPOSE["services"]["redis"]["command"])
del COMMAND[COMMAND.index("--dir") : COMMAND.index("--dir") + 2]
SAID = urlsplit(filled(COMPOSE["x-environment"]["RADIATA_REDIS_URL"]))
USER = f"{SAID.username}:{SAID.password}"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with valkey(tmp_path_factory.mktemp("queue"), *COMMAND) as server:
        yield f"redis://{USER}@127.0.0.1:{server.port}{SAID.path}"


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


def test_the_whole_service_works_with_these_rights_and_goes_on_when_sentinels_fail_over(tmp_path: Path) -> None:
    with ExitStack() as held:
        old = held.enter_context(valkey(tmp_path / "old", *COMMAND, *WATCH))
        held.enter_context(valkey(tmp_path / "new", *COMMAND, *WATCH, "--replicaof", f"{old.host} {old.port}"))
        told = ("auth-user pictures watch", "auth-pass pictures watched")
        watching = held.enter_context(sentinel(tmp_path / "sentinel", old, *told))
        url = f"redis+sentinel://{USER}@127.0.0.1:{watching.port}/pictures{SAID.path}"
        service = held.enter_context(running(tmp_path / "data", redis_url=url))
        http = held.enter_context(httpx.Client(base_url=service.url, timeout=120))
        assert draw(http, steps=2)["status"] == "succeeded"
        answer = upload(http, samples.file("lora"), "mine")
        assert answer.status_code == 201, answer.text
        assert http.get("/readyz").json()["ready"] and len(http.get("/v1/workers").json()["workers"]) == 1
        assert "radiata_workers 3.0" in http.get("/metrics").text
        began, waiting = [post(http, steps=40)["id"] for _ in range(2)]
        wait(http, began, "running")
        old.stop()
        for one in (began, waiting):
            assert wait(http, one)["status"] == "succeeded"
        assert draw(http, steps=2, adapters=[{"ref": "mine"}])["status"] == "succeeded"
        canceled = post(http, steps=60)["id"]
        assert http.delete(f"/v1/generations/{canceled}").status_code == 200
