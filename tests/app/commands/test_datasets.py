"""`radiata datasets`: what is here is sent, what is elsewhere is fetched, and both are read before the ref is said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app import cli

REF = f"dataset:{'0' * 64}"
REPORT = {"pictures": 2, "missing": ["1.png"], "empty": [], "orphaned": [], "unreadable": {}, "ignored": []}


class Service:
    """Notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def fetch(self, body: dict[str, Any], _told: object, path: str) -> dict[str, Any]:
        self.asked.append((path, body))
        return {"ref": REF, "report": REPORT}

    def dataset(self, archive: Path) -> dict[str, Any]:
        self.asked.append(archive.name)
        return {"ref": REF, "report": REPORT}

    def datasets(self) -> list[dict[str, Any]]:
        return [{"ref": REF, "pictures": 2, "captions": 1, "created_at": "2026-11-26T22:00:00Z"}]

    def delete_dataset(self, ref: str) -> None:
        self.asked.append(ref)


@pytest.fixture
def service(stand_in: Callable[[Any], None]) -> Service:
    service = Service()
    stand_in(service)
    return service


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli.cli, ["datasets", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_dataset_is_sent_or_fetched_listed_and_removed(service: Service, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"")
    (tmp_path / "some.zip").write_bytes(b"")
    for source in (str(tmp_path), str(tmp_path / "some.zip")):
        assert REF in run("add", source)
    assert "missing: 1.png" in run("add", "hf:owner/pictures", "--sha256", "1" * 64)
    assert REF in run("list")
    run("rm", REF)
    fetched = ("/v1/datasets", {"source": "hf:owner/pictures", "sha256": "1" * 64})
    assert service.asked == ["dataset.zip", "some.zip", fetched, REF]


@pytest.mark.parametrize("arguments", [("add", "nowhere"), ("add", ".", "--sha256", "1" * 64)])
def test_what_is_no_dataset_is_not_sent(service: Service, arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(cli.cli, ["datasets", *arguments]).exit_code == 2 and not service.asked
