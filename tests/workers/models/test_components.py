"""Components are the pipeline's own, and each can be named in a file."""

from types import SimpleNamespace

import pytest
from torch import nn

from app.shared.wire.adapter import denoises
from lycoris.dialects.dotted import parse
from workers.models.components import ADAPTABLE, components_of

# Modules of diffusers' text-to-image pipelines
DENOISERS = ("unet", "transformer", "transformer_2", "unconditional_transformer", "prior", "prior_prior", "decoder")
ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3", "text_encoder_4", "prior_text_encoder")
OTHERS = ("vae", "movq", "vqgan", "image_encoder", "prior_image_encoder", "safety_checker", "siglip", "pe", "guider")


def test_components_are_what_denoises_then_what_reads_the_prompt() -> None:
    parts = {name: nn.Linear(1, 1) for name in reversed((*DENOISERS, *ENCODERS, *OTHERS))}
    found = components_of(SimpleNamespace(components=parts | {"transformer_2": None, "scheduler": object()}))
    assert set(found) == {*DENOISERS, *ENCODERS} - {"transformer_2"}
    assert list(map(denoises, found)) == sorted(map(denoises, found), reverse=True)
    assert list(found)[-5:] == sorted(ENCODERS)


@pytest.mark.parametrize("component", [*DENOISERS, *ENCODERS, "text_conditioner"])
def test_a_component_is_a_prefix_by_its_own_name(component: str) -> None:
    assert ADAPTABLE.fullmatch(component)
    parsed = parse(f"{component}.block.to_q.lora_A.weight")
    assert parsed is not None
    assert (parsed.components[0], parsed.module) == (component, "block.to_q")
