"""A training beside others: storage that is away costs it time and no byte; whoever draws goes before it."""

import os
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from app.shared.errors import Unavailable
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.workers.training.trained import checkpoints, picture, plan, small_base, training
from workers import patience
from workers.patience import Patience, PatientStorage
from workers.training import service
from workers.training.progress import Event
from workers.training.run import Training

PATIENCE_S = 60.0


def nothing(_: Event) -> None:
    """Tell nobody."""


class Away(Storage):
    """Storage that answers at every third call."""

    calls = count(1)

    def put(self, key: str, data: bytes | Path) -> None:
        self._answer()
        super().put(key, data)

    def get(self, key: str) -> bytes | None:
        self._answer()
        return super().get(key)

    def _answer(self) -> None:
        if next(self.calls) % 3:
            raise Unavailable("storage_unavailable", "nobody answers")


@pytest.mark.slow
def test_storage_that_is_away_costs_time_and_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSES_S", (0.001,))
    whole = training(tmp_path / "whole").run(nothing)
    waits = Patience(PATIENCE_S)
    away = Away((tmp_path / "away").as_uri())
    run = Training(plan(), small_base(), [picture(number) for number in range(3)], PatientStorage(away, waits))
    with waits.during():
        ended = run.run(nothing)
    assert next(away.calls) > 3, "storage was not asked"
    assert ended.data == whole.data
    assert checkpoints(tmp_path / "away") == checkpoints(tmp_path / "whole")


def test_a_training_is_done_at_a_lower_priority_than_drawing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, as niceness is for good."""
    for name in ("watch_parent", "connect", "Trainer", "KnownQueue"):
        monkeypatch.setattr(service, name, lambda *_, **__: None)

    def perform(*_: Any) -> None:
        os._exit(os.nice(0))

    monkeypatch.setattr(service, "perform", perform)
    before = os.nice(0)
    if not (child := os.fork()):
        service.serve("train", "job", "execution", "worker", settings)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == min(before + service.NICE, 19) > before
