"""A stack is the same adapters to acceptance and to the engine: those that change weights, whatever else is asked for.

Over every pair of kinds, way of stacking and way of applying: what acceptance takes the engine applies, in the way that
is asked for, and what acceptance refuses the engine could not have applied.
"""

from itertools import product
from typing import Any

import pytest
import torch
from safetensors.torch import save

from app.accepting.judging import Judged, misused
from app.shared.errors import BadRequest
from app.shared.wire.adapter import AdapterKind
from app.shared.wire.generation import GenerationRequest
from lycoris import Adapter, load
from tests.app.shared.making import request
from tests.workers import toy
from workers.control.controller import apart
from workers.drawing.applied_stack import AdapterApplier, AppliedStack

STEPS = 2
FILES: dict[AdapterKind, list[bytes]] = {
    "weights": [toy.adapter(1), toy.adapter(2)],
    "embedding": [save({f"bundle_emb.word{at}.string_to_param.*": torch.ones(1, toy.WIDTH)}) for at in range(2)],
    "image_prompt": [save({"ip_adapter.1.to_k_ip.weight": torch.full((2, 2), float(at))}) for at in range(2)],
}
KINDS: list[AdapterKind] = [*FILES, "control"]
STACKS: list[tuple[AdapterKind, ...]] = [*((kind,) for kind in KINDS), *product(KINDS, KINDS)]


def engine_says(applier: AdapterApplier, uses: list[dict[str, Any]], adapters: list[Adapter], **fields: Any) -> Any:
    wanted = apart(request(adapters=uses, steps=STEPS, **fields))
    try:
        applied = applier.plan(wanted, adapters)
        for step in range(STEPS):
            applier.apply(applied, step)
    except (BadRequest, ValueError) as refusal:
        return refusal
    return applied


@pytest.mark.parametrize("stack", STACKS, ids="+".join)
@pytest.mark.parametrize("quantised", [False, True], ids=["plain", "quantised"])
def test_what_is_accepted_is_applied_and_what_is_refused_could_not_be(
    stack: tuple[AdapterKind, ...], quantised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AdapterApplier, "_mergeable", lambda *_: not quantised)
    applier = AdapterApplier(toy.base())
    adapters = [load(FILES[kind][at]) for at, kind in enumerate(stack) if kind != "control"]
    names = [f"a{at}" for at, _ in enumerate(stack)]
    uses: list[dict[str, Any]] = [
        {"ref": name, "name": name, "version": 1, "sha256": f"{at}" * 64, "kind": kind}
        for at, (name, kind) in enumerate(zip(names, stack, strict=True))
    ]
    several = stack.count("weights") > 1
    for mode, apply in product(("sum", "sequential"), ("auto", "merge", "bypass", "recompute")):
        asked = GenerationRequest.model_validate(
            {"prompt": "a", "adapters": [{"ref": name} for name in names], "stack_mode": mode, "apply": apply}
        )
        judged = [
            Judged(at, use, use.ref, True, None, kind)
            for at, (use, kind) in enumerate(zip(asked.adapters, stack, strict=True))
        ]
        refused = list(misused(asked, judged, STEPS))
        found = engine_says(applier, uses, adapters, stack_mode=mode, apply=apply)
        case = f"{mode}, {apply}: acceptance {refused}, engine {found}"
        assert isinstance(found, AppliedStack), case
        sequence = several and mode == "sequential"
        if refused:  # the engine goes on to draw such a request of version 0.1, and merges it
            assert (sequence, apply, found.choice.mode) == (True, "bypass", "merge"), case
            assert refused[0].reasons[0]["pointer"] == "/apply"
            continue
        assert not (sequence and apply == "bypass"), case
        assert found.stack_mode == ("sequential" if sequence else "sum"), case
        if "weights" not in stack:
            assert found.choice == ("merge", "mergeable"), case
        elif apply != "auto":
            assert found.choice.mode == apply, case
        else:
            expected = ("recompute", "in_sequence") if sequence else ("bypass", "quantised")
            assert found.choice == (expected if quantised else ("merge", "mergeable")), case
