"""Usage as it is asked for: one's own, another's with the scope admin, days that are days; and in a shell."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from redis import Redis
from typer.testing import CliRunner

from app.cli import cli
from app.shared.generations import Ledger
from app.shared.keys import Keyring
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Image, Status
from app.shared.wire.key import Scope
from tests.app.conftest import serving
from tests.app.shared.making import request

PICTURE = Image(index=0, url="/", seed=7, width=64, height=64, sha256="a" * 64, size_bytes=1536)


def draw(storage: Storage, redis: Redis, settings: Settings, owner: str, seconds: float) -> None:
    ledger = Ledger(storage, redis, settings, owner)
    done = {"status": Status.SUCCEEDED, "images": [PICTURE], "device_seconds": seconds}
    ledger.finish(ledger.accept(request()).model_copy(update=done))


@pytest.fixture
def keys(storage: Storage) -> dict[str, str]:
    ring = Keyring(storage)
    who: dict[str, tuple[Scope, ...]] = {"first": ("draw",), "ada": ("draw",), "boss": ("admin",)}
    return {one: ring.add(scopes, owner="" if one == "first" else one)[1] for one, scopes in who.items()}


@pytest.fixture
def asked(
    keys: dict[str, str], storage: Storage, redis: Redis, settings: Settings
) -> Iterator[Callable[..., httpx.Response]]:
    for owner, seconds in (("", 1.0), ("", 2.0), ("ada", 4.0)):
        draw(storage, redis, settings, owner, seconds)
    with serving(settings) as client:
        yield lambda who, query="": client.get(f"/v1/usage?{query}", headers={"X-API-Key": keys[who]})


def test_who_sees_whose(asked: Callable[..., httpx.Response]) -> None:
    def seconds(who: str, query: str = "") -> dict[str, float] | str:
        answer = asked(who, query).json()
        return {one["owner"]: one["device_seconds"] for one in answer["days"]} if "days" in answer else answer["code"]

    assert seconds("first") == seconds("first", "owner=first") == {"first": 3.0}
    assert seconds("ada") == seconds("ada", "owner=ada") == seconds("boss", "owner=ada") == {"ada": 4.0}
    assert seconds("boss") == {}
    assert seconds("boss", "owner=*") == {"ada": 4.0, "first": 3.0}
    for query in ("owner=first", "owner=", "owner=*", "owner=nobody"):
        assert seconds("ada", query) == "scope_missing"
    total = asked("boss", "owner=*").json()["total"]
    assert total == {
        "generations": 3,
        "trainings": 0,
        "device_seconds": 7.0,
        "pictures": 3,
        "trained_steps": 0,
        "size_bytes": 4608,
    }


def test_days_are_days(asked: Callable[..., httpx.Response]) -> None:
    today = asked("first").json()["days"][0]["day"]
    assert len(asked("first", f"since={today}&until={today}").json()["days"]) == 1
    assert asked("first", "since=9999-12-31").json()["days"] == []
    assert asked("first", "until=0001-01-01").json()["days"] == []
    for wrong in ("since=2026-13-01", "since=0", "until=2026-11-26T00:00:00", "until=", "from=2026-11-26"):
        assert asked("first", wrong).status_code == 422, wrong


def test_without_keys_everybodys_is_seen(storage: Storage, redis: Redis, settings: Settings, api: httpx.Client) -> None:
    for owner in ("", "ada"):
        draw(storage, redis, settings, owner, 1.0)
    found = {query: len(api.get(f"/v1/usage?{query}").json()["days"]) for query in ("", "owner=*", "owner=first")}
    assert found == {"": 2, "owner=*": 2, "owner=first": 1}


class Client:
    """Answers as a client does."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer, self.asked = answer, dict[str, Any]()

    def usage(self, **asked: Any) -> dict[str, Any]:
        self.asked = asked
        return self.answer


def test_a_shell_has_a_table_of_80_columns_and_json(
    asked: Callable[..., httpx.Response], stand_in: Callable[[Any], None]
) -> None:
    answer = asked("boss", "owner=*").json()
    client = Client(answer)
    stand_in(client)
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(cli, ["usage", "--owner", "*", "--since", "2026-11-01"])
    assert shown.exit_code == 0 and client.asked == {"since": "2026-11-01", "until": None, "owner": "*"}
    lines = shown.output.splitlines()
    assert max(map(len, lines)) <= 80 and "…" not in shown.output
    (ada,) = (line.split() for line in lines if "ada" in line)
    assert [one for one in ada if one != "│"][1:] == ["ada", "4.0", "1", "0", "1.5", "KiB", "1"]
    assert json.loads(CliRunner().invoke(cli, ["usage", "--json"]).output) == answer
