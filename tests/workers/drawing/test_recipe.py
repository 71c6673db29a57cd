"""Law 3 in the recipe: it is decided by what decides the pixels, and by nothing else."""

import itertools
from typing import Any

import pytest
from PIL import Image

from app.shared.wire.adapter import ResolvedAdapter
from app.shared.wire.generation import AppliedBecause, ApplyMode
from app.shared.wire.model import ModelProfile
from tests.app.shared.making import profile, request
from workers.drawing.encoding import encode
from workers.drawing.recipe import recipe


def use(number: int, **fields: object) -> ResolvedAdapter:
    plain = {"ref": f"a{number}", "name": f"a{number}", "version": 1, "sha256": str(number) * 64, "strength": 0.5}
    return ResolvedAdapter.model_validate(plain | fields)


def png(*adapters: ResolvedAdapter, **fields: Any) -> bytes:
    made_by = recipe(request(adapters=list(adapters), **fields), 7, profile(), "merge")
    return encode(Image.new("RGB", (8, 8), "red"), made_by)


def test_no_order_of_the_list_changes_a_byte() -> None:
    adapters = [use(1), use(2, strengths={"unet": 1.0, "text_encoder": 0.2}), use(3)]
    assert len({png(*order) for order in itertools.permutations(adapters)}) == 1


def test_in_sequence_the_order_is_part_of_the_recipe() -> None:
    assert png(use(1), use(2), stack_mode="sequential") != png(use(2), use(1), stack_mode="sequential")
    assert png(use(1), use(2), stack_mode="sequential") != png(use(1), use(2))


def test_no_name_no_version_and_no_order_of_components_changes_a_byte() -> None:
    plain = png(use(1, strengths={"unet": 1.0, "text_encoder": 0.2}))
    assert plain == png(use(1, ref="sha256:" + "1" * 64, strengths={"text_encoder": 0.2, "unet": 1.0}))
    assert plain == png(use(1, kind="control", strengths={"unet": 1.0, "text_encoder": 0.2}))
    assert plain == png(use(1, name="other", version=9, strengths={"unet": 1, "text_encoder": 0.2}))


@pytest.mark.parametrize(
    "how", [{"blocks": {"mid": 0.5}}, {"schedule": [[0.0, 0.5], [0.5, 1.0]]}, {"rank": 4}, {"ignore": ["x.*"]}], ids=str
)
def test_how_an_adapter_is_applied_is_in_the_recipe(how: dict[str, Any]) -> None:
    assert png(use(1, **how)) != png(use(1))
    assert png(use(1, blocks={"mid": 0.5, "up": 1.0})) == png(use(1, blocks={"up": 1.0, "mid": 0.5}))


def test_how_adapters_were_applied_is_in_the_recipe_and_what_was_asked_for_is_not() -> None:
    assert recipe(request(), 7, profile(), "merge") != recipe(request(), 7, profile(), "bypass")
    assert recipe(request(apply="auto"), 7, profile(), "bypass") == recipe(
        request(apply="bypass"), 7, profile(), "bypass"
    )


def test_why_so_is_in_the_recipe_where_the_weights_are_the_reason() -> None:
    """Version 0.1 has no quantised weights: what it drew keeps its bytes."""
    eight = profile(quantised=["int8"])
    cases: list[tuple[ModelProfile, ApplyMode, AppliedBecause, bool]] = [
        (profile(), "merge", "mergeable", False),
        (profile(), "merge", "never_called", False),
        (profile(), "bypass", "asked", False),
        (eight, "merge", "mergeable", False),
        (eight, "bypass", "quantised", True),
        (eight, "recompute", "asked", False),
        (eight, "recompute", "never_called", True),
    ]
    for base, applied, because, told in cases:
        made = recipe(request(), 7, base, applied, because)
        assert ("applied_because" in made, made.get("quantised", [])) == (told, base.quantised)
        assert made == recipe(request(), 7, base, applied) | ({"applied_because": because} if told else {})


def test_the_number_of_threads_is_in_the_recipe() -> None:
    one, two = (recipe(request(), 7, profile(threads=threads), "merge") for threads in (1, 2))
    assert one != two


def test_how_many_and_for_which_model_name_it_was_asked_is_not() -> None:
    assert png(count=4) == png() == png(model="another-name-for-it")
