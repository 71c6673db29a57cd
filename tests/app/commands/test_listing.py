"""`radiata list`: every filter of the list reaches it, and every row can be used."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from inspect import signature
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from app.cli import cli
from app.commands import client as module
from app.commands import terminal
from app.commands.client import Client
from app.commands.listing import listed
from app.routes.generations import newest
from app.shared.lifecycle import now

NOT_FOR_PEOPLE = {"ids", "before"}  # cursors, and what a page asks
BODIES: list[dict[str, Any]] = [
    {"prompt": "a red [b]apple[/b]", "seed": 1, "metadata": {"project": "a=b"}},
    {"prompt": "a blue apple " + "of glass " * 20, "seed": 2},
    {"prompt": "a red house :house:", "seed": 2},
]


@pytest.fixture
def ask(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """What runs the command against a service."""

    @contextmanager
    def connected(_: str | None) -> Iterator[Client]:
        with terminal.told(), Client(str(api.base_url)) as client:
            yield client

    monkeypatch.setattr(terminal, "connected", connected)
    return lambda *words: CliRunner(env={"COLUMNS": "80"}).invoke(cli, ["list", *words])


def seeds(result: Result) -> list[int]:
    assert result.exit_code == 0, result.output
    return [json.loads(line)["request"]["seed"] for line in result.output.splitlines()]


def test_every_filter_of_the_list_is_an_option() -> None:
    taken = {name for name in signature(newest).parameters if name not in ("asked", "service", "place")}
    assert set(signature(listed).parameters) == taken - NOT_FOR_PEOPLE | {"url", "as_json"}


def test_a_list_is_what_was_asked_for(
    api: httpx.Client, ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [api.post("/v1/generations", json=body).raise_for_status().json() for body in BODIES]
    api.patch(f"/v1/generations/{made[0]['id']}", json={"starred": True}).raise_for_status()
    table = ask()
    rows = table.output.splitlines()
    assert [row.split()[0] for row in rows if len(row.split()[0]) == 32] == [one["id"] for one in made[::-1]]
    # Every cell that a person reads is whole, and a prompt is as it was typed
    assert all(word in table.output.split() for word in ("accepted", "status", "queued", "house", ":house:"))
    assert all(one["created_at"][:10] in table.output.split() for one in made)
    assert "[b]" in table.output and "…" in table.output and "queued *" in table.output
    asked: dict[tuple[str, ...], list[int]] = {
        (): [2, 2, 1],
        ("--q", "RED"): [2, 1],
        ("--starred",): [1],
        ("--no-starred", "--limit", "1"): [2],
        ("--seed", "2", "--q", "house"): [2],
        ("--metadata", "project=a=b"): [1],
        ("--status", "failed"): [],
        ("--since", "1h"): [2, 2, 1],
        ("--until", (now() - timedelta(days=1)).date().isoformat()): [],
    }
    monkeypatch.setattr(module, "PAGE", 2)
    assert {words: seeds(ask("--json", *words)) for words in asked} == asked
    for words in (("--since", "yesterday"), ("--status", "done"), ("--owner", "A")):
        refused = ask(*words)
        assert refused.exit_code in (1, 2) and "Traceback" not in refused.output, words
