"""Families that cannot be served here: the sentence says what is missing, and who misses it."""

from pathlib import Path

import pytest
from diffusers.pipelines.cosmos import pipeline_cosmos2_text2image

from app.shared.settings import Settings
from tests.families.cosmos import GUARDRAIL, cosmos2
from tests.families.stable_cascade import stable_cascade
from workers.models.folder import Unservable
from workers.models.loading import load


def refusal(folder: Path) -> str:
    with pytest.raises(Unservable) as caught:
        load("tiny", Settings.model_validate({"models": {"tiny": str(folder)}}))
    return str(caught.value)


def test_a_stable_cascade_is_refused_as_diffusers_opens_none(tmp_path: Path) -> None:
    stable_cascade(tmp_path / "cascade")
    assert "diffusers 0.42.1 cannot open" in (why := refusal(tmp_path / "cascade")), why
    assert "PaellaVQModel" in why, why


@pytest.mark.skipif(GUARDRAIL.__module__ != pipeline_cosmos2_text2image.__name__, reason="the guardrail is installed")
def test_a_cosmos_is_refused_without_its_guardrail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cosmos2(tmp_path / "cosmos")
    monkeypatch.setattr(pipeline_cosmos2_text2image, "CosmosSafetyChecker", GUARDRAIL)
    assert "pip install cosmos_guardrail" in (why := refusal(tmp_path / "cosmos")), why
