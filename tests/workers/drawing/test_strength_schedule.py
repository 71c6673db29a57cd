"""Strength step by step: which strength holds at which step, for whom, and when anything is put on at all."""

from typing import Any

import pytest

from app.shared.wire.adapter import ResolvedAdapter
from lycoris import load, resolve
from tests.app.shared.making import request
from tests.lycoris import zoo
from workers.drawing.strength_schedule import PlacedAdapter, stages

BASE = {component: zoo.Model() for component in ("unet", "text_encoder")}


def placed(number: int, *, only: str = "", **fields: Any) -> PlacedAdapter:
    tensors = zoo.tensors("lora", BASE["unet"].get_parameter("layers.linear.weight"), number)
    names = [name for name in ("lora_unet", "lora_te") if not only or name == only]
    adapter = load(zoo.file({f"{name}_layers_linear": tensors for name in names}))
    plain = {"ref": f"a{number}", "name": f"a{number}", "version": 1, "sha256": adapter.sha256, "strength": 0.5}
    return PlacedAdapter(ResolvedAdapter.model_validate(plain | fields), adapter, resolve(adapter, BASE))


def stages_of(steps: int, *adapters: PlacedAdapter) -> list[tuple[int, list[dict[str, float]]]]:
    """Stages as (step, for each adapter {component: strength})."""
    found = []
    for stage in stages(request(steps=steps), adapters):
        entries = [
            {target.component: one.strength_on(target) for target in fit.plan.targets}
            for one, fit in zip(stage.stack, adapters, strict=True)
        ]
        found.append((stage.step, entries))
    return found


def test_without_steps_there_is_one_stage() -> None:
    assert stages_of(20, placed(1), placed(2, strengths={"text_encoder": 0.25})) == [
        (0, [{"unet": 0.5, "text_encoder": 0.5}, {"unet": 0.5, "text_encoder": 0.25}])
    ]
    assert stages_of(20) == [(0, [])]


@pytest.mark.parametrize(
    ("steps", "by_step", "expected"),
    [
        (10, [[0.0, 0.2], [0.6, 1.0]], {0: 0.2, 6: 1.0}),
        (20, [[0.0, 0.2], [0.6, 1.0]], {0: 0.2, 12: 1.0}),
        (7, [[0.0, 0.2], [0.6, 1.0]], {0: 0.2, 5: 1.0}),  # 4/7 lies before 0.6
        (1, [[0.0, 0.2], [0.6, 1.0]], {0: 0.2}),
        (4, [[0.0, 0.0], [0.1, 0.3], [0.2, 0.4], [0.9, 1.0]], {0: 0.0, 1: 0.4}),  # what no step falls into is skipped
        (4, [[0.0, 0.3], [0.5, 0.3]], {0: 0.3}),
        (3, [[0.0, 1.0], [1 / 3, 0.5], [2 / 3, 0.25]], {0: 1.0, 1: 0.5, 2: 0.25}),
    ],
)
def test_each_strength_holds_from_its_fraction_on(
    steps: int, by_step: list[list[float]], expected: dict[int, float]
) -> None:
    found = stages_of(steps, placed(1, schedule=by_step))
    assert {step: entries[0]["unet"] for step, entries in found} == expected
    assert {entries[0]["text_encoder"] for _, entries in found} == {0.5}, "the prompt is read once"


def test_text_encoders_keep_their_own_strength() -> None:
    (_, (first,)), (_, (second,)) = stages_of(
        2, placed(1, schedule=[[0.0, 0.1], [0.5, 0.9]], strengths={"text_encoder": -1.0})
    )
    assert (first, second) == ({"unet": 0.1, "text_encoder": -1.0}, {"unet": 0.9, "text_encoder": -1.0})


def test_stages_of_several_adapters_are_told_together() -> None:
    one, two = (
        placed(1, schedule=[[0.0, 0.2], [0.5, 1.0]]),
        placed(2, only="lora_unet", schedule=[[0.0, 1.0], [0.75, 0.0]]),
    )
    found = stages_of(4, one, two, placed(3))
    assert [step for step, _ in found] == [0, 2, 3]
    assert [[each["unet"] for each in entries] for _, entries in found] == [
        [0.2, 1.0, 0.5],
        [1.0, 1.0, 0.5],
        [1.0, 0.0, 0.5],
    ]
