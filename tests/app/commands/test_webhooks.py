"""`radiata webhooks`: what was told to whom, once more, and what it is signed with."""

from collections.abc import Callable
from typing import Any

from typer.testing import CliRunner

from app.cli import cli

ID = "ab" * 16
ROW = {"id": ID, "event": "generation.failed", "url": "https://x.org/[a]", "status": "waiting", "tries": 1}


SECRET = "whsec_" + "A" * 80


class Client:
    """Answers as a client does."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def deliveries(self) -> list[dict[str, Any]]:
        return [ROW | {"last": [{"status": 500, "error": "it answered 500"}]}]

    def webhook_secret(self) -> str:
        return SECRET

    def redeliver(self, generation_id: str) -> None:
        self.told.append(generation_id)


def test_deliveries_are_shown_and_made_again(stand_in: Callable[[Any], None]) -> None:
    client = Client()
    stand_in(client)
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["webhooks"])
    assert shown.exit_code == 0 and ID in shown.output and "it answered 500" in shown.output
    assert CliRunner().invoke(cli, ["webhooks", "redeliver", ID]).exit_code == 0
    assert client.told == [ID]
    assert CliRunner().invoke(cli, ["webhooks", "secret"]).output.strip() == SECRET
