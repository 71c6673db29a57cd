"""What decides a picture stands in its base's profile, and so in the recipe."""

import sys
from types import ModuleType

import pytest

from tests.workers import toy
from workers.models.describing import found_by


def test_a_library_that_a_pipeline_uses_where_it_finds_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wan reads a prompt as ftfy mends it, and as it stands where there is no ftfy: another picture (law 3)."""
    pipeline = toy.Pipeline()
    assert found_by(pipeline) == []
    monkeypatch.setattr(sys.modules[toy.__name__], "ftfy", ModuleType("ftfy"), raising=False)
    assert found_by(pipeline) == ["ftfy"]
