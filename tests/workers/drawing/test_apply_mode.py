"""How adapters are applied: a pure function that obeys the request, and by itself merges wherever that is possible."""

from typing import Any

import pytest

from app.shared.errors import BadRequest
from app.shared.wire.generation import ApplyMode
from lycoris import Code, Reason
from tests.app.shared.making import request
from workers.drawing.apply_mode import choose_apply_mode, merge_instead

ADAPTER = {"ref": "a", "name": "a", "version": 1, "sha256": "0" * 64, "strength": 1.0}
NO_FORM = [Reason(Code.NO_FORM, "unet.mid_block.resnets.0.conv1.weight", "has a loha, which has no exact bypass")]


FIXED = [Reason(Code.NO_FORM, "unet.mid_block.attentions.0.weight", "is read by the layer around it")]


def chosen(*obstacles: Reason, mergeable: bool = True, fixed: list[Reason] | None = None, **fields: Any) -> ApplyMode:
    hindered: Any = {"bypass": lambda: obstacles, "recompute": lambda: fixed or []}
    return choose_apply_mode(request(**{"adapters": [ADAPTER]} | fields), mergeable, hindered)


def test_by_itself_it_merges_wherever_it_can() -> None:
    assert chosen() == "merge"
    assert chosen(steps=1) == "merge"
    rising = [[step / 20, step / 20] for step in range(20)]
    assert chosen(adapters=[ADAPTER | {"schedule": rising}]) == "merge", "however many strengths follow each other"


def test_quantised_weights_are_bypassed_or_recomputed_or_left_to_the_patcher_to_refuse() -> None:
    assert chosen(mergeable=False) == chosen(mergeable=False, fixed=FIXED) == "bypass"
    assert chosen(*NO_FORM, mergeable=False) == "recompute"
    assert chosen(*NO_FORM, fixed=FIXED, mergeable=False) == "merge"


def test_what_a_bypass_does_not_reach_is_merged_or_refused_by_name() -> None:
    missed = [Reason(Code.NOT_CALLED, "transformer.pooler.q_proj", "was not called")]
    assert merge_instead("bypass", missed, mergeable=True) == "merge"
    with pytest.raises(BadRequest, match=r"transformer\.pooler\.q_proj") as caught:
        merge_instead("bypass", missed, mergeable=False)
    assert caught.value.code == "bypass_impossible"


def test_what_is_asked_for_is_done_or_refused_by_name() -> None:
    assert chosen(apply="bypass") == "bypass"
    assert chosen(apply="merge", mergeable=False) == "merge"
    with pytest.raises(BadRequest, match=r"mid_block\.resnets\.0\.conv1") as caught:
        chosen(*NO_FORM, apply="bypass")
    assert caught.value.code == "bypass_impossible"
    with pytest.raises(BadRequest, match=r"and 2 more"):
        chosen(*NO_FORM * 7, apply="bypass")


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
