"""The audit: one line for each change, in order, without a secret, and never in the way of what is not changed."""

import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis
from typer.testing import CliRunner

from app import cli
from app.shared.audit import Audit, in_force
from app.shared.catalog import Catalog
from app.shared.keys import Keyring
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.key import KeyLimits
from tests.app.shared.making import version


def test_keys_and_settings_leave_lines_and_no_secret(
    storage: Storage, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = Audit(storage)
    key_id, key = Keyring(storage).add(["draw"], owner="ada", limits=KeyLimits(generations=3))
    Keyring(storage).revoke(key_id)
    for port in (8000, 8000, 9000):
        audit.started(settings.model_copy(update={"port": port, "hub_token": SecretStr("hf_secretsecret")}))
    lines = list(audit.lines())
    actions = ["key.added", "key.revoked", "settings.changed", "settings.changed"]
    assert [one.action for one in lines] == actions and {one.subject for one in lines[:2]} == {key_id}
    assert lines[0].owner == "ada" and lines[0].facts["limits"] == "generations=3"
    assert lines[2].facts["hub_token"] == "set" and lines[3].facts == {"port": "9000"}
    written = "".join(one.model_dump_json() for one in lines)
    assert key.rpartition("_")[2] not in written and "secretsecret" not in written
    today = datetime.now(UTC).date()
    assert not list(audit.lines(since=today + timedelta(days=1))) and len(list(audit.lines(until=today))) == 4

    monkeypatch.setenv("RADIATA_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(cli.cli, ["audit"])
    assert shown.exit_code == 0 and "key.revoked" in shown.output and key_id in shown.output
    monkeypatch.setenv("COLUMNS", "80")
    narrow = CliRunner().invoke(cli.cli, ["audit"]).output.splitlines()
    assert max(map(len, narrow)) <= 80
    short = {f"    {name}={value}" for line in lines for name, value in line.facts.items() if len(value) < 40}
    assert short <= {*narrow}
    told = CliRunner().invoke(cli.cli, ["audit", "--json"])
    assert [json.loads(one)["action"] for one in told.output.splitlines()] == actions
    assert CliRunner().invoke(cli.cli, ["audit", "--since", "yesterday"]).exit_code == 2


def test_of_an_address_no_password_is_told(settings: Settings) -> None:
    secret = {"storage_url": "s3://ada:hunter2@bucket/x", "redis_url": SecretStr("redis://:hunter2@10.0.0.1")}
    found = in_force(settings.model_copy(update=secret))
    assert found["redis_url"] == "set" and "hunter2" not in str(found) and found["hub_token"] == "unset"


def test_adapters_leave_lines(api: httpx.Client, storage: Storage, redis: Redis) -> None:
    Catalog(storage, redis).admit(version("a", b"a"), {})
    assert api.patch("/v1/adapters/a", json={"visibility": "public"}).status_code == 200
    assert api.delete("/v1/adapters/a").status_code == 204
    assert api.delete("/v1/adapters/none").status_code == 404
    lines = [(one.action, one.subject, one.facts) for one in Audit(storage).lines() if one.action != "settings.changed"]
    assert lines == [("adapter.shown", "a", {"visibility": "public"}), ("adapter.deleted", "a", {})]
