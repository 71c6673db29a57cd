"""`radiata webhooks`: what was told to whom, once more, and what it is signed with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import cli

ID = "ab" * 16
ROW = {"id": ID, "event": "generation.failed", "url": "https://x.org/[a]", "status": "waiting", "tries": 1}


class Client:
    """Answers as a client does."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def deliveries(self) -> list[dict[str, Any]]:
        return [ROW | {"last": [{"status": 500, "error": "it answered 500"}]}]

    def redeliver(self, generation_id: str) -> None:
        self.told.append(generation_id)


def test_deliveries_are_shown_and_made_again(stand_in: Callable[[Any], None]) -> None:
    client = Client()
    stand_in(client)
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["webhooks"])
    assert shown.exit_code == 0 and ID in shown.output and "it answered 500" in shown.output
    assert CliRunner().invoke(cli, ["webhooks", "redeliver", ID]).exit_code == 0
    assert client.told == [ID]


def test_the_secret_is_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADIATA_DATA_DIR", str(tmp_path))
    first, second = (CliRunner().invoke(cli, ["webhooks", "secret"]) for _ in range(2))
    assert first.exit_code == 0 and first.output == second.output and first.output.startswith("whsec_")
    monkeypatch.setenv("RADIATA_WEBHOOK_SECRET", "whsec_" + "A" * 32)
    assert CliRunner().invoke(cli, ["webhooks", "secret"]).output.strip() == "whsec_" + "A" * 32
    monkeypatch.setenv("RADIATA_WEBHOOK_SECRET", "whsec_c2hvcnQ=")
    assert CliRunner().invoke(cli, ["webhooks", "secret"]).exit_code == 2
