"""Merged or beside the weights: a pure function, on the side of what is cheaper, and obedient where it is told."""

from dataclasses import replace
from typing import Any

import pytest

from app.shared.errors import BadRequest
from app.shared.schema import ApplyMode
from lycoris.errors import Code, Reason
from tests.app.shared.making import request
from workers.drawing.apply_mode import Base, Layer, way

CPU = Base(device="cpu", levels=4, quantised=frozenset())
ADAPTER = {"ref": "a", "name": "a", "version": 1, "sha256": "0" * 64, "strength": 1.0}
NO_FORM = [Reason(Code.NO_FORM, "unet.mid_block.resnets.0.conv1.weight", "wears a loha that has no exact forward form")]
# Attention of SD 1.5's UNet, LoRA of rank 16
SD15 = [
    Layer("unet", (f"{block}.attentions.{k}.to_{kind}.weight",), (width, width), 16, 32 * width)
    for block, width in (("down_blocks.0", 320), ("down_blocks.1", 640), ("up_blocks.1", 1280), ("up_blocks.3", 320))
    for k in range(3)
    for kind in "qkvo"
]
# One wide layer as of a large transformer
HUGE = [Layer("transformer", (f"blocks.{k}.linear.weight",), (12288, 3072), 16, 16 * 15360) for k in range(20)]


def chosen(
    layers: list[Layer], stages: int = 1, base: Base = CPU, obstacles: list[Reason] | None = None, **fields: Any
) -> ApplyMode:
    asked = request(**{"adapters": [ADAPTER], "width": 512, "height": 512, "steps": 20} | fields)
    return way(asked, layers, stages, base, lambda: obstacles or [])


@pytest.mark.parametrize(
    ("expected", "layers", "stages", "fields"),
    [
        ("merge", SD15, 1, {}),
        ("merge", SD15, 1, {"steps": 20, "count": 4}),
        ("bypass", SD15, 20, {"width": 64, "height": 64, "steps": 20}),  # another strength at every step
        ("bypass", HUGE, 1, {"width": 256, "height": 256, "steps": 1, "guidance_scale": 1.0}),  # a huge base, few steps
        ("merge", HUGE, 1, {"width": 1024, "height": 1024, "steps": 28}),
        ("merge", [], 1, {}),
    ],
)
def test_the_cheaper_way_is_taken(
    expected: ApplyMode, layers: list[Layer], stages: int, fields: dict[str, Any]
) -> None:
    base = replace(CPU, levels=0) if layers is HUGE else CPU
    assert chosen(layers, stages, base, **fields) == expected


def test_more_steps_never_make_bypass_the_cheaper_one() -> None:
    ways = [chosen(HUGE, base=replace(CPU, levels=0), width=256, height=256, steps=steps) for steps in range(1, 60)]
    assert ways == sorted(ways, key=lambda one: one == "merge")
    assert set(ways) == {"merge", "bypass"}


def test_quantised_weights_wear_beside_or_are_left_to_the_patcher_to_refuse() -> None:
    base = replace(CPU, quantised=frozenset({("unet", SD15[0].parameters[0])}))
    assert chosen(SD15, base=base) == "bypass"
    assert chosen(SD15, base=base, obstacles=NO_FORM) == "merge"
    assert chosen(SD15[1:], base=base) == "merge"


def test_where_nothing_was_measured_it_is_merged() -> None:
    assert chosen(HUGE, base=replace(CPU, device="cuda", levels=0), width=256, height=256, steps=1) == "merge"


def test_what_is_asked_for_is_done_or_refused_by_name() -> None:
    assert chosen(SD15, apply="bypass") == "bypass"
    assert chosen(HUGE, apply="merge", width=64, height=64, steps=1) == "merge"
    with pytest.raises(BadRequest, match=r"mid_block\.resnets\.0\.conv1") as caught:
        chosen(SD15, apply="bypass", obstacles=NO_FORM)
    assert caught.value.code == "bypass_impossible"
    assert chosen(HUGE, base=replace(CPU, levels=0), width=64, height=64, steps=1, obstacles=NO_FORM) == "merge"


def test_nothing_worn_is_the_same_either_way() -> None:
    assert way(request(apply="bypass"), [], 1, CPU, list) == "merge"


def test_in_sequence_several_are_merged() -> None:
    two = [ADAPTER, ADAPTER | {"sha256": "1" * 64}]
    quick = {"width": 64, "height": 64, "steps": 1, "base": replace(CPU, levels=0)}
    assert chosen(HUGE, adapters=two, stack_mode="sequential", **quick) == "merge"
    assert chosen(HUGE, adapters=two, **quick) == "bypass"
