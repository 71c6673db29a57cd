"""What is foretold of a plan by the layers alone is what is begun on the model: counts, notes and refusals."""

from typing import Any

import pytest

from lycoris.errors import PlanRefused
from lycoris.training.foretelling import foretold
from lycoris.training.forms import FORMS, shapes_of
from lycoris.training.plan import Plan, plan
from lycoris.training.reach import trainable_layers
from lycoris.training.table import TRAINABLE
from lycoris.training.trainable import FIXED, begin
from tests.lycoris.training.cases import CASES
from tests.lycoris.training.models import Denoiser

PLANS = {name: case.plan() for name, case in CASES.items()}
PLANS |= {
    "a rank over some layers": plan("loha", 6),
    "tied to patterns": plan("lora", 4, layers=["unet.up_blocks.*"]),
    "some misfit": plan("boft", 4),
    "both tucker": plan("lokr", 1, options={"tucker": True, "decompose_both": True, "factor": 4}),
}


def test_every_algorithm_of_the_table_has_a_form() -> None:
    assert set(FORMS) == set(TRAINABLE)


@pytest.mark.parametrize("name", PLANS)
def test_what_is_foretold_is_what_is_begun(name: str) -> None:
    components = {"unet": Denoiser()}
    begun, told = begin(components, PLANS[name], seed=3), foretold(list(trainable_layers(components)), PLANS[name])
    assert (told.parameters, told.layers, told.notes) == (begun.parameters, {"unet": len(begun.layers)}, begun.notes)
    for layer, tensors in begun.tensors.items():
        made = {suffix: tuple(tensor.shape) for suffix, tensor in tensors.items() if suffix not in FIXED}
        assert shapes_of(layer, PLANS[name]) == made, layer.name


@pytest.mark.parametrize(
    ("algorithm", "said"),
    [
        ("lora", {"layers": ["unet.nowhere"]}),
        ("norm", {"layers": ["unet.*.to_q"]}),
        ("lora", {"rank": 500}),
        ("boft", {"rank": 2, "layers": ["unet.*.to_q"]}),
        ("c3a", {"rank": 1}),
    ],
    ids=str,
)
def test_what_cannot_be_begun_is_refused_alike(algorithm: str, said: dict[str, Any]) -> None:
    components = {"unet": Denoiser()}
    asked: Plan = plan(algorithm, **said)
    with pytest.raises(PlanRefused) as begun:
        begin(components, asked, seed=3)
    with pytest.raises(PlanRefused) as told:
        foretold(list(trainable_layers(components)), asked)
    assert told.value.listed == begun.value.listed
