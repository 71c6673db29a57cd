"""What a training begins with on a base, as its field's recipes have it."""

import pytest

from app.shared.training_defaults import FAMILIES, defaults_on, rank_on, rate_on

# pipeline -> learning rate of LoRA, as the recipe for it has it; and the rank, where it is another than 16
RECIPES = {
    "StableDiffusionPipeline": (1e-4, 16),
    "StableDiffusionXLPipeline": (1e-4, 16),
    "StableDiffusion3Pipeline": (4e-4, 16),
    "FluxPipeline": (1e-4, 16),
    "Flux2KleinPipeline": (1e-4, 16),
    "QwenImagePipeline": (2e-4, 16),
    "QwenImage21Pipeline": (1e-4, 16),
    "HiDreamImagePipeline": (2e-4, 16),
    "Krea2Pipeline": (3e-4, 32),
    "AuraFlowPipeline": (1e-4, 16),  # none
}


@pytest.mark.parametrize("pipeline", RECIPES)
def test_lora_begins_as_in_the_recipe_of_its_base(pipeline: str) -> None:
    assert (rate_on(pipeline, 1e-4), rank_on(pipeline, "lora", 16)) == RECIPES[pipeline]
    assert rate_on(pipeline, 2e-5) == pytest.approx(2e-1 * RECIPES[pipeline][0])  # of LoHa: the same share
    assert rank_on(pipeline, "oft", 16) == 16 and rank_on(pipeline, "ia3", None) is None


def test_a_base_with_another_rate_says_how_many_times_and_by_which_recipe() -> None:
    for one in FAMILIES:
        assert "recipe" in one.why and (one.rate == 1.0 or "that: " in one.why)
    assert "no recipe" in defaults_on("AuraFlowPipeline").why
