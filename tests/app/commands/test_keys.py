"""`radiata keys`: a key is shown once, listed without its secret, and revoked."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app import cli
from app.commands.keys import _end, _scopes
from app.shared.keys import Keyring
from app.shared.lifecycle import now
from app.shared.settings import BadSettings
from app.shared.storage import Storage
from app.shared.wire.key import KeyLimits


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keyring:
    """The keys of the service that the commands are about."""
    monkeypatch.setenv("RADIATA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    return Keyring(Storage((tmp_path / "store").as_uri()))


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.cli, ["keys", *arguments])
    return result.exit_code, result.output


def test_what_has_to_be_typed_is_whole_in_a_narrow_terminal(keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    _, said = run("add", "--owner", "somebody-with-a-long-name", "--scopes", "draw,upload,train", "--note", "a note")
    found = re.search(r"rad_([0-9a-f]{12})_", said)
    monkeypatch.setenv("COLUMNS", "60")
    assert found and found[1] in run("list")[1]


def test_a_key_is_added_listed_and_revoked(keyring: Keyring, tmp_path: Path) -> None:
    code, said = run("add", "--scopes", "draw,admin", "--note", "[red]mine", "--expires", "30d")
    found = re.search(r"rad_([0-9a-f]{12})_[\w-]{43}", said)
    assert code == 0 and found and (tmp_path / "store").as_uri() in said
    record = keyring.ring().judge(found[0], now())
    assert record.scopes == ["admin", "draw"] and record.note == "[red]mine"
    assert record.expires_at and abs(record.expires_at - now() - timedelta(days=30)) < timedelta(minutes=1)
    code, said = run("list")
    assert code == 0 and found[1] in said and found[0] not in said and "good" in said and "[red]mine" in said
    assert run("revoke", found[1])[0] == 0 == run("revoke", found[0])[0]
    assert "revoked" in run("list")[1]


def test_a_key_may_have_a_webhook(keyring: Keyring) -> None:
    code, _ = run("add", "--webhook", "https://example.org/hook?token=x", "--webhook-events", "failed, canceled")
    (record,) = keyring.ring().keys.values()
    assert code == 0 and record and record.webhook
    assert record.webhook.model_dump() == {
        "url": "https://example.org/hook?token=x",
        "events": ["generation.failed", "generation.canceled"],
    }
    listed = run("list")[1]
    assert "https://example.org/hook" in listed and "token=" not in listed


def test_a_key_has_limits_of_its_own(keyring: Keyring) -> None:
    code, said = run("add", "--limit", "generations=20", "--limit", "requests=0")
    assert code == 0
    (record,) = keyring.ring().keys.values()
    assert record and record.limits == KeyLimits(generations=20, requests=0)
    assert "generations=20" in run("list")[1]
    for wrong in ("generations", "pictures=3", "requests=-1", "requests=many"):
        code, said = run("add", "--limit", wrong)
        assert code == 2 and "--limit" in said


@pytest.mark.parametrize(
    "wrong",
    [
        ("--scopes", "paint"),
        ("--scopes", ","),
        ("--expires", "soon"),
        ("--webhook", "http://example.org/hook"),
        ("--webhook", "https://169.254.169.254/"),
        ("--webhook-events", "begun", "--webhook", "https://example.org/hook"),
    ],
)
def test_what_makes_no_key_is_a_sentence(keyring: Keyring, wrong: tuple[str, ...]) -> None:
    code, said = run("add", *wrong)
    assert code == 2 and wrong[0] in said and not keyring.ring().needed


@pytest.mark.parametrize("unknown", ["0" * 12, "../x", "rad_x"])
def test_a_key_that_is_none_is_not_revoked(keyring: Keyring, unknown: str) -> None:
    code, said = run("revoke", unknown)
    assert code == 1 and "there is no key" in said


def test_ends_are_times_and_dates() -> None:
    assert _end("2127-01-31") == datetime(2127, 1, 31, tzinfo=UTC)
    for over in ("2020-01-01", "99999999d", "0d"):
        with pytest.raises(BadSettings):
            _end(over)
    assert _scopes("train, draw") == ["train", "draw"]
