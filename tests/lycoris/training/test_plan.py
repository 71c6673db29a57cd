"""What may be asked for: every option does something, and what an algorithm has no use for is refused by its name."""

from dataclasses import asdict
from typing import Any

import pytest

from lycoris.errors import PlanRefused
from lycoris.training.export import export
from lycoris.training.plan import plan
from lycoris.training.table import ALGORITHMS, TRAINABLE
from lycoris.training.trainable import begin
from tests.lycoris.training.models import Denoiser

OTHER: dict[str, Any] = {  # than the default, such that the tensors of a small model show it
    **{"rank_stabilised": True, "tucker": True, "rescaled": True, "bias": True, "full_matrix": True},
    **{"decompose_both": True, "on_input": True, "over": "loha", "constraint": 0.1, "start": 0.2, "frequencies": 9},
    **{"conv_rank": 1, "conv_alpha": 0.5, "factor": 2, "scaling": 10.0, "location_seed": 3},
}
BESIDE = {  # what makes a factor of a small model large enough
    ("lokr", "decompose_both"): {"factor": -1},
    ("lokr", "full_matrix"): {"factor": 1},
    ("lokr", "tucker"): {"factor": 1},
}


def refusal(*args: Any, **numbers: Any) -> dict[str, str]:
    with pytest.raises(PlanRefused) as refused:
        plan(*args, **numbers)
    return {reason.subject: reason.message for reason in refused.value.reasons}


def test_the_table_says_everything_about_every_algorithm() -> None:
    assert set(TRAINABLE) == {name for name, each in ALGORITHMS.items() if not each.untrainable}
    for name in TRAINABLE:
        facts = ALGORITHMS[name]
        assert facts.reaches and facts.summary and facts.why_rate and facts.learning_rate > 0 < facts.first_change
        assert bool(facts.rank) == (facts.default_rank is not None)
        assert all(option.meaning and not option.problem(option.default) for option in facts.options)
        filled = plan(name)
        assert filled.rank == facts.default_rank
        assert filled.alpha == (facts.default_rank if facts.alpha else None)
        assert plan(**asdict(filled)) == filled, "a plan with every value given is the same plan"


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS.keys() - TRAINABLE))
def test_what_cannot_be_trained_says_why(algorithm: str) -> None:
    assert refusal(algorithm)["algorithm"].startswith(f"{algorithm} cannot be trained here: ")


def test_hazard_34_values_without_meaning_are_refused_by_name() -> None:
    assert refusal("ia3", rank=4, alpha=1.0).keys() == {"rank", "alpha"}
    assert "has no meaning" in refusal("oft", rank=4, alpha=1.0)["alpha"]
    assert refusal("lora", rank=0)["rank"] == "must be from 1 to 4096, not 0"
    assert refusal("lora", alpha=0.0).keys() == {"alpha"}
    assert refusal("lora", alpha=float("nan")).keys() == {"alpha"}
    assert refusal("lora", rank=True).keys() == refusal("lora", rank=2.5).keys() == {"rank"}
    assert refusal("lokr", options={"factr": 8})["options.factr"] == "is no option of lokr: did you mean factor?"
    assert "did you mean factor?" in refusal("lokr", options={"factor ": 8})["options.factor "]
    assert refusal("norm", options={"tucker": True})["options.tucker"].endswith("there are none at all")
    assert refusal("lor")["algorithm"] == "is none that is known: did you mean lora?"
    found = refusal("dora", options={"over": "oft", "conv_rank": 1.5, "conv_alpha": True})
    assert found.keys() == {"options.over", "options.conv_rank", "options.conv_alpha"}
    assert refusal("lokr", options={"full_matrix": 1})["options.full_matrix"] == "must be true or false, not 1"


def test_a_rank_above_every_layer_is_refused_and_above_some_it_is_said() -> None:
    model = {"unet": Denoiser()}
    with pytest.raises(PlanRefused, match="rank: is 20, and the largest layer that is trained has room for 8"):
        begin(model, plan("locon", rank=20), seed=1)
    adapter = begin(model, plan("locon", rank=8), seed=1)
    assert adapter.notes == (
        "2 layers have 4 where the rank is 8, for their size: unet.down_blocks.0.ff, unet.up_blocks.0.ff",
    )
    (note,) = begin(model, plan("glora", rank=8, layers=["unet.*.point"]), seed=1).notes
    assert note.startswith("2 layers have 7 where the rank is 8"), "square factors alone would be read two ways"
    assert begin(model, plan("locon"), seed=1).notes, "the default rank is cut to a small model's size"


def test_layers_are_chosen_by_kind_and_by_pattern() -> None:
    model = {"unet": Denoiser()}

    def names(algorithm: str, *layers: str) -> set[str]:
        return {layer.path for layer in begin(model, plan(algorithm, layers=layers), seed=1).layers}

    inner = {f"{side}_blocks.0.{layer}" for side in ("down", "up") for layer in ("to_q", "ff")}
    assert names("lora") == inner
    assert names("locon") == inner | {
        f"{side}_blocks.0.{each}" for side in ("down", "up") for each in ("conv", "point")
    }
    assert names("norm") == {f"{side}_blocks.0.norm{n}" for side in ("down", "up") for n in (1, 2)}
    assert names("locon", "unet.conv_*") == {"conv_in", "conv_out"}
    with pytest.raises(PlanRefused, match=r"'unet.nowhere\*' names no layer that this algorithm trains"):
        names("lora", "unet.nowhere*", "unet.*.ff")
    with pytest.raises(PlanRefused, match="layers"):
        names("lora", "unet.*.norm1")


OPTIONS = [(name, option.name) for name in TRAINABLE for option in ALGORITHMS[name].options]


@pytest.mark.parametrize(("algorithm", "option"), OPTIONS)
def test_hazard_34_every_option_changes_the_file(algorithm: str, option: str) -> None:
    model, options = {"unet": Denoiser()}, BESIDE.get((algorithm, option), {})
    numbers: dict[str, Any] = {"rank": 1 if option == "decompose_both" else 2} if ALGORITHMS[algorithm].rank else {}
    made = [
        export(begin(model, plan(algorithm, **numbers, options=options | more), seed=1))
        for more in ({}, {option: OTHER[option]})
    ]
    tensors = [data[8 + int.from_bytes(data[:8], "little") :] for data in made]
    assert tensors[0] != tensors[1]
