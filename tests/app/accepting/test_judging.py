"""Judging on the event loop: it costs little whatever a request names, and says what a look at each layer would say."""

import random
import time
from collections.abc import Iterator

import pytest

from app.accepting import judging
from app.accepting.judging import Judged, misused
from app.shared.facts import Fitting
from app.shared.wire.adapter import AdapterUse
from app.shared.wire.generation import GenerationRequest

PARTS = ("down_blocks", "mid_block", "up_blocks", "attentions", "resnets", "0", "1", "10", "to_q")
MANY = [f"down_blocks.0.attentions.{number}.block.attn.to_q" for number in range(720)]


def within(parameter: str, block: str) -> bool:
    """As StackEntry finds the modules of a block, one by one."""
    first, dot, rest = block.partition(".")
    return f"{parameter}.".startswith(f"{judging.BLOCKS.get(first, first)}{dot}{rest}.")


def factor(use: AdapterUse, parameter: str) -> float:
    fitting = [block for block in use.blocks if within(parameter, block)]
    longest = max(fitting, key=lambda block: len(block.replace("down", "down_blocks", 1)), default=None)
    return 1.0 if longest is None else use.blocks[longest]


def requests() -> Iterator[tuple[GenerationRequest, Fitting]]:
    r = random.Random(3)
    for _ in range(200):
        places = {
            component: {
                ".".join(r.choices(PARTS, k=r.randint(1, 5))): r.choice(("", "its kernel is not square"))
                for _ in range(r.randint(0, 9))
            }
            for component in ("unet", "text_encoder")
        }
        blocks = {
            ".".join([r.choice(("down", "mid", "up", "attentions")), *r.choices(PARTS, k=r.randint(0, 3))]): r.choice(
                (0.0, 0.5)
            )
            for _ in range(r.randint(0, 4))
        }
        use = {"ref": "one", "strength": r.choice((0.0, 0.5)), "blocks": blocks}
        use |= {"strengths": {"unet": r.choice((0.0, -1.0))}} if r.random() < 0.5 else {}
        asked = {"prompt": "a", "apply": r.choice(("merge", "bypass", "recompute")), "adapters": [use]}
        yield (
            GenerationRequest.model_validate(asked),
            Fitting(places=places, words={}, fixed=places, unmergeable=places),
        )


def test_blocks_are_judged_as_by_a_look_at_each_layer() -> None:
    said: set[str] = set()
    for asked, fitting in requests():
        (use,) = asked.adapters
        found = [reason for one in misused(asked, [Judged(0, use, "one", True, fitting)], 4) for reason in one.reasons]
        names = [name for part in fitting.places.values() for name in part]
        empty = [block for block in use.blocks if not any(within(name, block) for name in names)]
        hindered = any(
            why and use.strengths.get(component, use.strength) * factor(use, name)
            for component, part in fitting.places.items()
            for name, why in part.items()
        )
        codes = [one["code"] for one in found]
        assert codes == ["block_without_change"] * len(empty) + [f"{asked.apply}_impossible"] * hindered
        said |= set(codes)
    assert len(said) == 4


def test_many_blocks_cost_no_more_than_a_look_up_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen adapters with sixty-four blocks each on 720 layers held the event loop for seconds."""
    fittings = [Fitting(places={"unet": dict.fromkeys(MANY, "no")}, words={}) for _ in range(16)]
    blocks = {f"down.0.attentions.x{number}": 0.5 for number in range(64)}
    uses = [{"ref": f"one-{number}", "blocks": blocks} for number in range(16)]
    asked = GenerationRequest.model_validate({"prompt": "a", "apply": "bypass", "adapters": uses})
    adapters = [
        Judged(at, use, use.ref, True, fitting)
        for at, (use, fitting) in enumerate(zip(asked.adapters, fittings, strict=True))
    ]
    paths: list[str] = []
    really = judging._path
    monkeypatch.setattr(judging, "_path", lambda block: paths.append(block) or really(block))  # type: ignore[func-returns-value]
    began = time.process_time()
    found = list(misused(asked, adapters, 20))
    assert len(found) == 16 * 64 + 16
    assert len(paths) == 2 * 16 * 64  # one for whether it is there, one for its factor
    print(f"{1000 * (time.process_time() - began):.0f} ms")


def test_a_refusal_names_the_other_ways_and_few_layers() -> None:
    loha = dict.fromkeys(MANY, "has a loha, which has no exact forward form")
    one = {"unet": {**loha, "mid_block.attentions.0.to_q": "is read by the layer around it, and not only called"}}
    eight = {"unet": dict.fromkeys(MANY, "is quantised (int8), and cannot be changed exactly")}
    told = {}
    for fitting in (Fitting(places=one, words={}), Fitting(places=one, words={}, unmergeable=eight)):
        asked = GenerationRequest.model_validate({"prompt": "a", "apply": "bypass", "adapters": [{"ref": "one"}]})
        (found,) = misused(asked, [Judged(0, asked.adapters[0], "one", True, fitting)], 4)
        told[found.message] = found.reasons[0]["allowed"]
    (plain, allowed), (quantised, fewer) = told.items()
    assert (allowed, fewer) == (["auto", "merge", "recompute"], ["auto", "recompute"])
    assert plain.startswith("leave \"apply\" out, or ask for merge or recompute: 'one' has no bypass here; unet.down")
    assert f"and {len(MANY) - 3} more: has a loha, which" in plain and len(plain) < 500
    assert "out, or ask for recompute: " in quantised
