"""What is fetched has a name that says something, and what is a file here is sent."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app import cli
from app.commands.adapter_source import is_elsewhere, named

NAMES = {
    "hf:owner/My-Style": "my-style",
    "hf:owner/repo@main:pytorch_lora_weights.safetensors": "repo",
    "hf:owner/repo:sub/Ink Wash.safetensors": "ink-wash",
    "hf:owner/lora": "owner",
    "civitai:128713": "civitai-128713",
    "https://example.org/files/One.safetensors?token=hunter2": "one",
    "https://example.org/": "example",
    "https:///": "adapter",
}


@pytest.mark.parametrize("source", NAMES)
def test_a_name_is_made_of_what_was_asked_for(source: str) -> None:
    assert is_elsewhere(source)
    assert named(source) == NAMES[source]


@pytest.mark.parametrize("file", ["a.safetensors", "./hf", "models/Lora", "https.safetensors"])
def test_what_is_here_is_sent(file: str) -> None:
    assert not is_elsewhere(file)


class Service:
    """Notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def fetch(self, body: dict[str, Any], *_: object) -> dict[str, Any]:
        self.asked.append(body["visibility"])
        return {}

    def upload(self, *_: object, visibility: str | None, **__: object) -> dict[str, Any]:
        self.asked.append(visibility)
        return {}

    def show_to(self, name: str, visibility: str) -> dict[str, Any]:
        self.asked.append((name, visibility))
        return {"name": name, "visibility": visibility}


def test_who_may_use_an_adapter_is_said_when_it_is_added_and_later(
    stand_in: Callable[[Any], None], tmp_path: Path
) -> None:
    service, file = Service(), tmp_path / "a.safetensors"
    stand_in(service)
    file.write_bytes(b"")
    for arguments in (
        ("add", "hf:owner/style", "--visibility", "shared"),
        ("add", str(file), "--visibility", "public"),
        ("visibility", "a", "private"),
    ):
        result = CliRunner().invoke(cli.cli, ["adapters", *arguments])
        assert result.exit_code == 0, result.output
    assert service.asked == ["shared", "public", ("a", "private")]
