"""Editing models are shown pictures, each at its own size and in the order of the list."""

import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from app.shared.generation_keys import image_key
from tests.families.serving import GUIDANCE, PROMPT, SEED, Diffusers, Served, apart
from tests.workers.drawing.pictures import gradient

IN_THE_GATE = ("flux.2-klein", "qwen-image-edit-plus")
EVERY = (
    *("flux.1-kontext", "flux.2-klein", "flux.2-dev", "qwen-image-edit", "qwen-image-edit-plus", "z-image-omni"),
    *("qwen-image-2.1", "dreamlite", "dreamlite-mobile"),
)
SIZES = ((64, 96), (90, 70))  # of the second, 80×64 are read
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "FutureWarning", "UserWarning")
]


def shown(served: Served) -> list[Image.Image]:
    """As many pictures as it takes, up to two."""
    return [gradient(*size, seed) for seed, size in enumerate(SIZES)][: served.base.profile.max_references]


def recipe(served: Served, generation: Any) -> dict[str, Any]:
    with Image.open(io.BytesIO(served.storage.get(image_key(generation.id, 0)) or b"")) as picture:
        return json.loads(picture.text["radiata"])  # type: ignore[attr-defined]


def test_pictures_are_read_at_their_own_sizes_as_diffusers_does(served: Served, diffusers: Diffusers) -> None:
    pictures = shown(served)
    refs = [served.pictures.put(one).ref for one in pictures]
    drawn = served.ended(reference_images=refs)
    call: dict[str, Any] = {"prompt": PROMPT, "width": 64, "height": 64, "num_inference_steps": 2} | dict(
        served.family.extra
    )
    if served.family.guidance:
        call[served.family.guidance] = GUIDANCE
    read: list[list[int]] = []
    hook = diffusers.pipeline.vae.encoder.register_forward_pre_hook(
        lambda _, inputs: read.append([*inputs[0].shape[:-3:-1]])
    )
    # Z-Image-Omni gives its codec bfloat16, whatever this computes in
    cast = diffusers.pipeline.vae.encoder.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(), *inputs[1:]))
    given = pictures if served.base.profile.max_references > 1 else pictures[0]
    with torch.inference_mode():
        output = diffusers.pipeline(image=given, **call, generator=torch.Generator("cpu").manual_seed(SEED))
    hook.remove()
    cast.remove()
    assert apart(served.pixels(drawn), np.asarray(output.images[0]).astype(int)) == 0
    assert recipe(served, drawn)["reference_sizes"] == read
    assert recipe(served, drawn)["reference_images"] == refs
    if len(refs) > 1:
        assert apart(served.drawn(reference_images=refs[::-1]), served.pixels(drawn)), "their order changes nothing"


def test_pictures_of_a_shape_that_it_does_not_read_are_refused(served: Served) -> None:
    profile = served.base.profile
    small = gradient(128, profile.reference_edge - 1)
    long = gradient(int(64 * (profile.reference_aspect or 0)) + 1, 64) if profile.reference_aspect else small
    for picture in (small, long):
        refusal = served.refusal(reference_images=[served.pictures.put(picture).ref])
        assert refusal is not None and refusal.reasons[0]["pointer"] == "/reference_images/0", refusal


def test_a_model_that_changes_pictures_asks_for_one(served: Served) -> None:
    refusal = served.refusal(reference_images=[])
    least = served.base.profile.min_references
    assert served.family.shown == bool(least) == (refusal is not None)
    if refusal:
        assert (refusal.code, refusal.reasons[0]["pointer"]) == ("reference_missing", "/reference_images"), refusal


def test_more_pictures_than_it_is_shown_are_refused(served: Served) -> None:
    most = served.base.profile.max_references
    refs = [served.pictures.put(gradient(64, 64, seed)).ref for seed in range(most + 1)]
    if most < 8:  # of more, no request has any
        refusal = served.refusal(reference_images=refs)
        assert refusal is not None and refusal.code == "too_many_references", refusal
