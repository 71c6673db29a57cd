"""`radiata doctor` finds what is wrong, names it, and changes nothing."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from typer.testing import CliRunner

from app import cli
from app.commands.doctor import examine
from app.shared.catalog import Catalog
from app.shared.generation_keys import pending_key
from app.shared.generations import Ledger
from app.shared.identity import claim_at_start
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.app.shared.making import request, version


@pytest.fixture(autouse=True)
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.redis_url is not None
    monkeypatch.setenv("RADIATA_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("RADIATA_REDIS_URL", settings.redis_url.get_secret_value())
    monkeypatch.setenv("RADIATA_PORT", "0")


@pytest.fixture
def generation_id(storage: Storage, redis: Redis, settings: Settings) -> str:
    """A service that has something in its store."""
    claim_at_start(settings, redis)
    Catalog(storage, redis).admit(version("a", b"1"), {})
    return Ledger(storage, redis, settings).accept(request()).id


def doctor() -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(cli.cli, ["doctor", "--json"])
    return result.exit_code, json.loads(result.output)


def wrong(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["check"], one["result"]) for one in found["checks"] if one["status"] == "wrong"]


def test_a_sound_service_is_found_sound_and_left_as_it_was(generation_id: str, storage: Storage) -> None:
    before = {key: storage.get(key) for key in storage.keys("")}
    code, found = doctor()
    assert (code, found["ok"], wrong(found)) == (0, True, [])
    checks = [one["check"] for one in found["checks"]]
    assert checks[:2] == ["settings", "data folder"] and checks[-1] == "records"
    assert {"storage", "redis", "redis memory", "redis and storage", "temporary files"} <= set(checks)
    assert {"redis version", "redis on disk", "redis rights", "clocks", "model emoji-64", "port"} <= set(checks)
    assert {key: storage.get(key) for key in storage.keys("")} == before
    assert CliRunner().invoke(cli.cli, ["doctor"]).exit_code == 0


@pytest.mark.parametrize("key", ["pending", "names/a/1.json", "store.json"])
def test_a_record_that_cannot_be_read_is_named_with_what_to_do(
    generation_id: str, settings: Settings, key: str
) -> None:
    key = pending_key(generation_id) if key == "pending" else key
    (settings.data_dir / "store" / key).write_bytes(b"{")
    code, found = doctor()
    assert code == 1 and not found["ok"]
    said = [text for check, text in wrong(found) if check == "record"]
    assert len(said) == 1 and key in said[0]
    result = CliRunner().invoke(cli.cli, ["doctor"], env={"COLUMNS": "400"})
    assert result.exit_code == 1 and key in result.output


def test_wrong_settings_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADIATA_PORT", "many")
    code, found = doctor()
    assert code == 1 and [check for check, _ in wrong(found)] == ["settings"]
    assert "RADIATA_PORT" in found["checks"][0]["result"]


def test_a_redis_that_was_named_and_is_away_is_wrong_and_one_of_ours_is_a_note(
    generation_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADIATA_REDIS_URL", "redis://127.0.0.1:1/0")
    code, found = doctor()
    assert code == 1 and [check for check, _ in wrong(found)] == ["redis"]
    assert any(one["check"] == "records" for one in found["checks"])  # what does not need it goes on
    monkeypatch.delenv("RADIATA_REDIS_URL")
    assert doctor()[0] == 0


def test_a_redis_that_drops_keys_and_one_of_another_store_are_wrong(generation_id: str, redis: Redis) -> None:
    redis.config_set("maxmemory-policy", "allkeys-lru")
    redis.set("radiata:store", "f" * 32)
    try:
        code, found = doctor()
    finally:
        redis.config_set("maxmemory-policy", "noeviction")
    assert code == 1 and [check for check, _ in wrong(found)] == ["redis memory", "redis and storage"]


def test_a_store_that_takes_nothing_and_a_full_folder_are_wrong(
    generation_id: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings.data_dir / "store" / "doctor").write_bytes(b"a file where a folder should be")
    monkeypatch.setattr("app.commands.doctor_machine.shutil.disk_usage", lambda _: type("Usage", (), {"free": 5 << 20}))
    found = {one.check: one for one in examine()}
    assert found["storage"].status == "wrong" and "records" not in found
    for check in ("data folder", "temporary files"):
        assert found[check].status == "wrong" and "5 MiB free" in found[check].result


def test_a_store_that_creates_for_two_is_wrong(
    generation_id: str, settings: Settings, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(self: Storage, key: str, data: bytes) -> bool:
        there = self.exists(key)
        time.sleep(0.05)  # others look meanwhile
        if not there:
            self.put(key, data)
        return not there

    before = set(storage.keys(""))
    monkeypatch.setattr(Storage, "create", create)
    found = {one.check: one for one in examine()}
    assert found["storage"].status == "wrong" and "conditional writes" in found["storage"].result
    assert set(storage.keys("")) == before


def test_a_user_of_redis_with_too_few_rights_is_told_which_are_missing(
    generation_id: str, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.redis_url is not None
    redis.execute_command("ACL", "SETUSER", "few", "on", ">few", "~radiata:*", "&radiata:*", "+@all", "-eval", "-info")
    try:
        url = settings.redis_url.get_secret_value().replace("://", "://few:few@")
        monkeypatch.setenv("RADIATA_REDIS_URL", url)
        code, found = doctor()
    finally:
        redis.execute_command("ACL", "DELUSER", "few")
    ((check, said),) = wrong(found)
    assert (code, check) == (1, "redis rights") and "EVAL on radiata:*" in said and "SET on rq:*" in said
    assert "INFO" in said and "SET on radiata:*" not in said
    assert not redis.keys("*doctor*")


def test_models_ports_and_clocks_that_are_wrong_are_named(
    generation_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    models = {"gone": str(tmp_path / "gone"), "empty": str(tmp_path / "empty"), "hub": "owner/repository"}
    monkeypatch.setenv("RADIATA_MODELS", json.dumps(models))
    clock = time.time
    monkeypatch.setattr("app.commands.doctor_redis.time.time", lambda: clock() + 60)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("RADIATA_PORT", str(taken.getsockname()[1]))
        monkeypatch.setattr("app.commands.doctor_machine.ANSWER_S", 0.1)
        found = {one.check: one.status for one in examine()}
    expected = {"model gone": "wrong", "model empty": "wrong", "model hub": "note", "port": "wrong", "clocks": "wrong"}
    assert {check: found[check] for check in expected} == expected


def test_a_data_folder_that_does_not_exist_yet_is_not_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADIATA_DATA_DIR", str(tmp_path / "new" / "er"))
    assert doctor()[0] == 0
