"""Law 1 over every kind of adapter: what is too much, missing or of another shape in a file is refused by name."""

import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from app.shared.facts import BaseDenoiser, BaseSites
from app.shared.wire.model import ImageEncoder
from lycoris import AdapterError, FileRefused, Index, bypass_sites, shapes_of
from tests.app.shared.making import profile
from tests.families import controls, stable_diffusion
from tests.workers.image_prompts import made
from workers.adapters.uploaded import opened
from workers.control.classes import CLASSES
from workers.models.components import made_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
TRIES = 12
TOLD_BY = frozenset(name for one in CLASSES for names in one.told_by for name in names)  # without, it is another file
LAYERS = ("attn1.to_q", "attn2.to_v", "ff.net.2")


@pytest.fixture(scope="module")
def pipeline() -> Any:
    """A pipeline as far as files are judged by it."""
    return SimpleNamespace(unet=stable_diffusion.unet(), vae_scale_factor=8)


@pytest.fixture(scope="module")
def base(pipeline: Any) -> Any:
    """What is known of a base."""
    components = {"unet": pipeline.unet}
    described = made_of(pipeline, components)
    assert described
    encoder = ImageEncoder(image_embeds=made.PROJECTED, hidden_states=made.HIDDEN, size=made.EDGE)
    shapes = {name: shapes_of(part) for name, part in components.items()}
    return SimpleNamespace(
        profile=profile(adapter_kinds=["weights", "control", "image_prompt"], image_encoders={"own": encoder}),
        shapes=shapes,
        index=Index(shapes),
        sites=BaseSites(fingerprint="f", sites=bypass_sites(components)),
        denoiser=BaseDenoiser(fingerprint="f", **described),
    )


def weights(pipeline: Any) -> dict[str, Tensor]:
    """A LoRA of some layers."""
    found: dict[str, Tensor] = {}
    for name, layer in pipeline.unet.named_modules():
        if name.endswith(LAYERS):
            found[f"unet.{name}.lora_A.weight"] = torch.ones(2, layer.in_features)
            found[f"unet.{name}.lora_B.weight"] = torch.ones(layer.out_features, 2)
    return found


KINDS: dict[str, Any] = {
    "weights": weights,
    "control": lambda pipeline: controls.tensors(controls.control_net(pipeline)),
    "t2i": lambda pipeline: controls.tensors(controls.control_net(pipeline, "t2i")),
    "plain": lambda pipeline: made.plain_projection(32) | made.attention(pipeline),
    "plus": lambda pipeline: made.plus_projection(32, depth=1) | made.attention(pipeline),
}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_becomes_of_a_files_tensors_it_is_refused_by_name(kind: str, pipeline: Any, base: Any) -> None:
    sound = KINDS[kind](pipeline)
    assert opened(save(sound), []).verdict(base)
    for seed in range(TRIES):
        numbers = random.Random(seed)
        held, names = dict(sound), sorted(sound.keys() - TOLD_BY)
        missing, bent = numbers.sample(names, 1 + numbers.randrange(2)), numbers.sample(names, numbers.randrange(3))
        surplus = [f"{numbers.choice(names)}.{numbers.choice(('x', 'weight'))}" for _ in range(numbers.randrange(3))]
        held |= {name: torch.zeros(numbers.choice(((3,), (2, 5), (1, 2, 3)))) for name in (*bent, *surplus)}
        for name in missing:
            del held[name]
        with pytest.raises(AdapterError) as caught:
            opened(save(held), []).verdict(base)
        told = {one.subject for one in caught.value.reasons}
        if told == {""}:  # by these tensors it is a file for another base, and the sentence says which
            assert kind in ("control", "t2i"), seed
            continue
        for name in (*missing, *surplus):
            assert any(name.startswith(subject) for subject in told if subject), (seed, name, told)


@pytest.mark.parametrize("kind", KINDS)
def test_one_tensor_of_another_shape_alone_is_a_reason(kind: str, pipeline: Any, base: Any) -> None:
    sound = KINDS[kind](pipeline)
    names = sorted(sound)
    for at, name in enumerate(random.Random(1).sample(names, min(len(names), TRIES))):
        shape = ((), (3,), (2, 5), (1, 2, 3))[at % 4]
        if tuple(sound[name].shape) == shape:
            continue
        with pytest.raises(AdapterError) as caught:
            opened(save(sound | {name: torch.zeros(shape)}), []).verdict(base)
        assert caught.value.reasons


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_encoder_is_said_of_an_image_prompt_alone(kind: str, pipeline: Any, base: Any) -> None:
    data = save(KINDS[kind](pipeline))
    if kind in ("plain", "plus"):
        assert opened(data, [], "own").verdict(base)
    else:
        with pytest.raises(FileRefused, match="only an image prompt has an image_encoder"):
            opened(data, [], "own")
