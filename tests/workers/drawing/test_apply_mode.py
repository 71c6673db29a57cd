"""How adapters are applied: a pure function that obeys the request, and by itself merges wherever that is possible."""

from typing import Any

import pytest

from app.shared.errors import BadRequest
from lycoris import Code, Reason
from tests.app.shared.making import request
from workers.drawing.apply_mode import Choice, after_never_called, choose_apply_mode

ADAPTER = {"ref": "a", "name": "a", "version": 1, "sha256": "0" * 64, "strength": 1.0}
NO_FORM = [Reason(Code.NO_FORM, "unet.mid_block.resnets.0.conv1.weight", "has a loha, which has no exact bypass")]


FIXED = [Reason(Code.NO_FORM, "unet.mid_block.attentions.0.weight", "is read by the layer around it")]


def choice(*obstacles: Reason, mergeable: bool = True, fixed: list[Reason] | None = None, **fields: Any) -> Choice:
    hindered: Any = {"bypass": lambda: obstacles, "recompute": lambda: fixed or []}
    return choose_apply_mode(request(**{"adapters": [ADAPTER]} | fields), mergeable, hindered)


def chosen(*obstacles: Reason, **fields: Any) -> str:
    return choice(*obstacles, **fields).mode


def test_by_itself_it_merges_wherever_it_can() -> None:
    assert chosen() == "merge"
    assert chosen(steps=1) == "merge"
    rising = [[step / 20, step / 20] for step in range(20)]
    assert chosen(adapters=[ADAPTER | {"schedule": rising}]) == "merge", "however many strengths follow each other"


def test_quantised_weights_are_bypassed_or_recomputed_or_left_to_the_patcher_to_refuse() -> None:
    assert chosen(mergeable=False) == chosen(mergeable=False, fixed=FIXED) == "bypass"
    assert chosen(*NO_FORM, mergeable=False) == "recompute"
    assert chosen(*NO_FORM, fixed=FIXED, mergeable=False) == "merge"


def test_what_a_way_does_not_reach_is_drawn_by_the_next_or_refused_by_name() -> None:
    missed = [Reason(Code.NOT_CALLED, "transformer.pooler.q_proj", "was not called")]
    assert after_never_called("bypass", missed, "merge") == ("merge", "never_called")
    assert after_never_called("bypass", missed, "recompute") == ("recompute", "never_called")
    with pytest.raises(BadRequest, match=r"transformer\.pooler\.q_proj") as caught:
        after_never_called("bypass", missed, None)
    assert caught.value.code == "bypass_impossible"


def test_it_is_told_why() -> None:
    two: Any = {"adapters": [ADAPTER, ADAPTER | {"sha256": "1" * 64}], "stack_mode": "sequential"}
    assert choice() == choice(adapters=[]) == ("merge", "mergeable")
    assert choice(apply="recompute") == ("recompute", "asked")
    assert choice(mergeable=False) == ("bypass", "quantised")
    assert choice(*NO_FORM, mergeable=False) == ("recompute", "no_forward_form")
    assert choice(**two, mergeable=False) == ("recompute", "in_sequence")
    assert choice(apply="recompute", mergeable=False) == ("recompute", "asked")
    # A way that is taken anyway is told as such: who asks for what a recipe says gets its bytes
    assert choice(apply="merge") == ("merge", "mergeable")
    assert choice(apply="bypass", mergeable=False) == ("bypass", "quantised")
    assert choice(*NO_FORM, apply="recompute", mergeable=False) == ("recompute", "no_forward_form")


def test_what_is_asked_for_is_done_or_refused_by_name() -> None:
    assert chosen(apply="bypass") == "bypass"
    assert chosen(apply="merge", mergeable=False) == "merge"
    with pytest.raises(BadRequest, match=r"mid_block\.resnets\.0\.conv1") as caught:
        chosen(*NO_FORM, apply="bypass")
    assert caught.value.code == "bypass_impossible"
    many = [Reason(Code.NO_FORM, f"unet.{number}", "has a loha") for number in range(7)]
    with pytest.raises(BadRequest, match=r"unet\.0, unet\.1, unet\.2 and 4 more: has a loha$"):
        chosen(*many, apply="bypass")


def test_recompute_is_done_where_it_is_asked_for_or_refused_by_name() -> None:
    assert chosen(*NO_FORM, apply="recompute") == "recompute"
    two = [ADAPTER, ADAPTER | {"sha256": "1" * 64}]
    assert chosen(adapters=two, stack_mode="sequential", apply="recompute") == "recompute"
    with pytest.raises(BadRequest, match="around it") as caught:
        chosen(apply="recompute", fixed=FIXED)
    assert caught.value.code == "recompute_impossible"


def test_without_adapters_there_is_nothing_to_bypass() -> None:
    assert chosen(adapters=[], apply="bypass") == "merge"


def test_in_sequence_several_are_merged_or_recomputed() -> None:
    two = [ADAPTER, ADAPTER | {"sha256": "1" * 64}]
    assert chosen(adapters=two, stack_mode="sequential") == "merge"
    assert chosen(adapters=two, stack_mode="sequential", mergeable=False) == "recompute"
    assert chosen(adapters=two, stack_mode="sequential", mergeable=False, fixed=FIXED) == "merge"
    assert chosen(adapters=two, mergeable=False) == "bypass"
    assert chosen(stack_mode="sequential", mergeable=False) == "bypass", "one adapter is no sequence"
