"""Components are the pipeline's own, and each can be named in a file."""

from types import SimpleNamespace

import pytest
from torch import nn

from app.shared.wire.adapter import denoises
from lycoris.dialects.dotted import parse
from workers.models.components import ADAPTABLE, components_of

# Modules of diffusers' text-to-image pipelines
DENOISERS = ("unet", "transformer", "transformer_2", "unconditional_transformer", "prior", "decoder")
BEFORE = ("prior_prior", "text_conditioner")  # they run once, or have steps of their own: a schedule decides nothing
ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3", "text_encoder_4", "prior_text_encoder")
OTHERS = ("vae", "movq", "vqgan", "image_encoder", "prior_image_encoder", "safety_checker", "siglip", "pe", "guider")


def test_components_are_what_denoises_then_what_runs_before() -> None:
    parts = {name: nn.Linear(1, 1) for name in reversed((*DENOISERS, *BEFORE, *ENCODERS, *OTHERS))}
    found = components_of(SimpleNamespace(components=parts | {"transformer_2": None, "scheduler": object()}))
    denoisers = sorted({*DENOISERS} - {"transformer_2"})
    assert list(found) == [*denoisers, *sorted((*BEFORE, *ENCODERS))]
    assert [name for name in found if denoises(name)] == denoisers


@pytest.mark.parametrize("component", [*DENOISERS, *BEFORE, *ENCODERS])
def test_a_component_is_a_prefix_by_its_own_name(component: str) -> None:
    assert ADAPTABLE.fullmatch(component)
    parsed = parse(f"{component}.block.to_q.lora_A.weight")
    assert parsed is not None
    assert (parsed.components[0], parsed.module) == (component, "block.to_q")
