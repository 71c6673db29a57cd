"""An upload that is held while it is put away."""

import asyncio
from threading import Event
from typing import Any

import pytest

from app.shared.storage import Storage
from app.shared.uploads import Uploads

PATIENCE_S = 90


class HeldStaging:
    """Uploads that are put away once `go` is set, and then what was in storage; `begun` is set when one waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, storage: Storage) -> None:
        self.begun, self.go = Event(), Event()
        self.staged: list[list[str]] = []
        really = Uploads.stage_async

        async def stage_async(*given: Any) -> None:
            self.begun.set()
            await asyncio.to_thread(self.go.wait, PATIENCE_S)
            await really(*given)
            self.staged.append(list(storage.keys("uploads")))

        monkeypatch.setattr(Uploads, "stage_async", stage_async)
