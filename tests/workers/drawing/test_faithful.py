"""A generation's pictures are what was asked for in whole, or none is stored: told step by step, and by which way."""

from typing import Any

import pytest
import torch
from redis import Redis

from app.shared.generations import Ledger
from app.shared.storage import Storage
from tests.workers import toy
from tests.workers.drawing.asking import drawn, pictures, png, steps_told, use
from workers.drawing.engine import Engine


@pytest.mark.parametrize("code", ["picture_not_finite", "size_not_obeyed"])
def test_a_spoilt_picture_fails_its_generation_and_is_not_stored(
    engine: Engine, ledger: Ledger, storage: Storage, base: toy.LoadedModel, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = png(storage, drawn(engine, ledger))
    with monkeypatch.context() as patch:
        if code == "size_not_obeyed":
            patch.setattr(toy, "SIDE", 72)
        else:
            patch.setattr(base.pipeline.unet, "forward", lambda pixels: pixels * float("nan"))
        failed = drawn(engine, ledger, count=2)
    assert failed.error is not None and failed.error.code == code
    assert pictures(storage, failed) == []
    assert png(storage, drawn(engine, ledger)) == plain


def test_one_progress_event_a_step(engine: Engine, ledger: Ledger, redis: Redis) -> None:
    told = steps_told(redis, drawn(engine, ledger, count=2, steps=4))
    assert told == [{"step": step, "steps": 8} for step in range(1, 9)]


# A bypass that the model goes past


@pytest.fixture
def past(base: toy.LoadedModel, monkeypatch: pytest.MonkeyPatch) -> toy.LoadedModel:
    """A base whose model reads the weight of its layer without calling it, as HunyuanDiT's pooler does."""
    base.profile.apply_modes.append("recompute")
    layer = base.pipeline.unet.block["to_q"]
    monkeypatch.setattr(base.pipeline.unet, "forward", lambda x: torch.nn.functional.linear(x, layer.weight))
    return base


@pytest.mark.parametrize("way", ["bypass", "recompute"])
@pytest.mark.parametrize("schedule", [None, [[0.0, 0.0], [0.5, 1.0]]], ids=["whole", "scheduled"])
def test_what_is_not_reached_is_drawn_anew_merged(
    engine: Engine, ledger: Ledger, storage: Storage, redis: Redis, past: toy.LoadedModel, schedule: Any, way: str
) -> None:
    asked = {"adapters": [use(storage, 1) | {"schedule": schedule or []}], "steps": 4}
    merged = drawn(engine, ledger, **asked, count=2)
    forwards: list[int] = []
    past.pipeline.before_step = lambda: forwards.append(1)
    anew = drawn(engine, ledger, **asked, count=2, apply=way)
    assert anew.applied == merged.applied == "merge"
    assert (anew.applied_because, merged.applied_because) == ("never_called", "mergeable")
    for index in range(2):
        assert png(storage, anew, index) == png(storage, merged, index), "pixels, and the recipe that says how"
    assert png(storage, drawn(engine, ledger, steps=4)) != png(storage, merged)
    assert len(forwards) - 4 == 8 + (1 if schedule is None else 3), "found in its first forward, and for all pictures"
    assert steps_told(redis, anew) == [{"step": step, "steps": 8} for step in range(1, 9)]


def test_a_quantised_layer_whose_hooks_are_passed_is_recomputed(
    engine: Engine, ledger: Ledger, storage: Storage, base: toy.LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    base.profile.apply_modes.append("recompute")
    layer = base.pipeline.unet.block["to_q"]
    monkeypatch.setattr(base.pipeline.unet, "forward", lambda x: layer.forward(x))
    asked = {"adapters": [use(storage, 1)], "steps": 4}
    recomputed = drawn(engine, ledger, **asked, apply="recompute")
    monkeypatch.setattr(engine._applier, "_quantised", frozenset({("unet", "block.to_q.weight")}))
    found = drawn(engine, ledger, **asked)
    assert (found.applied, found.applied_because) == ("recompute", "never_called")
    assert png(storage, found) == png(storage, recomputed) != png(storage, drawn(engine, ledger, steps=4))


@pytest.mark.parametrize("way", ["auto", "bypass", "recompute"])
def test_where_merging_is_impossible_too_it_fails_by_name(
    engine: Engine, ledger: Ledger, storage: Storage, past: toy.LoadedModel, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(engine._applier, "_quantised", frozenset({("unet", "block.to_q.weight")}))
    failed = drawn(engine, ledger, adapters=[use(storage, 1)], apply=way)
    assert failed.error is not None and failed.error.code == "recompute_impossible", "which is tried after a bypass"
    assert "unet.block.to_q" in failed.error.message
    assert pictures(storage, failed) == []
