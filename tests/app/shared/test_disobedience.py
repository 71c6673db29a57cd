"""What a request sets and a model does not obey, by its profile alone: each field is refused by name."""

from typing import Any

import pytest

from app.shared.disobedience import disobeyed
from app.shared.wire.generation import FIRST_FIELDS, Picture, ResolvedRequest
from app.shared.wire.model import ModelProfile
from tests.app.shared.making import profile, request

PICTURE = "image:" + "0" * 64
LATER = sorted(Picture.model_fields.keys() - FIRST_FIELDS)
SET: dict[str, Any] = {
    "sigmas": "karras",
    "prompt_syntax": "weighted",
    "clip_skip": 1,
    "prompt_2": "a",
    "negative_prompt_2": "a",
    "guidance_rescale": 0.5,
    "eta": 0.5,
    "original_size": [64, 32],
    "target_size": [64, 32],
    "crops_coords_top_left": [0, 8],
    "init_image": PICTURE,
    "denoise": 0.5,
    "mask_image": PICTURE,
    "mask_blur": 4,
    "fit": "pad",
    "inpaint_area": "masked",
    "inpaint_padding": 8,
    "upscale": {"scale": 1.5},
    "reference_images": [PICTURE],
    "output_format": "webp",
    "quality": 50,
}
WITH_PICTURE = {"init_image": PICTURE}
MASKED = WITH_PICTURE | {"mask_image": PICTURE}
BESIDE: dict[str, dict[str, Any]] = {  # what a field says nothing without
    **dict.fromkeys(("denoise", "mask_image", "fit"), WITH_PICTURE),
    **dict.fromkeys(("mask_blur", "inpaint_area"), MASKED),
    "inpaint_padding": MASKED | {"inpaint_area": "masked"},
    "quality": {"output_format": "jpeg"},
}
ALL = dict.fromkeys((*FIRST_FIELDS, *LATER, "width", "height", "steps", "guidance_scale"), True)


def refused(model: ModelProfile, asked: ResolvedRequest) -> dict[str, Any]:
    return {one.field: one.allowed for one in disobeyed(model, asked)}


def test_a_profile_that_knows_nothing_of_a_field_does_not_obey_it() -> None:
    """As those of versions 0.1 and 0.2 are: an engine of that time would drop what it does not know, or fail."""
    for obeys in ({}, dict.fromkeys(FIRST_FIELDS, True)):
        old = profile(obeys=obeys)
        assert not refused(old, request())
        for field in LATER:
            assert field in refused(old, request(**{field: SET[field]})), field


def test_a_profile_that_says_so_obeys_it() -> None:
    model = profile(
        obeys=ALL, sampler_sigmas={"own": ["karras"]}, eta_samplers=["own"], max_clip_skip=1, max_references=1
    )
    for field in LATER:
        assert not refused(model, request(**BESIDE.get(field, {}), **{field: SET[field]})), field


def test_a_field_that_says_nothing_without_another_is_refused_without_it() -> None:
    model = profile(obeys=ALL)
    for field, beside in BESIDE.items():
        for left_out in beside:
            some = {name: value for name, value in beside.items() if name != left_out}
            assert refused(model, request(**some, **{field: SET[field]})), (field, left_out)


@pytest.mark.parametrize(
    ("rounding", "steps", "denoise", "least"),
    [("down", 10, 0.05, 0.1), ("down", 49, 0.02, 0.0205), ("up", 10, 0.05, None), ("down", 20, 0.05, None)],
)
def test_a_denoise_that_draws_no_step_names_the_smallest_that_does(
    rounding: str, steps: int, denoise: float, least: float | None
) -> None:
    model = profile(obeys=ALL, denoise_rounding=rounding)
    found = refused(model, request(**WITH_PICTURE, steps=steps, denoise=denoise))
    assert found == ({} if least is None else {"denoise": {"minimum": least}})
    if least is not None:
        assert not refused(model, request(**WITH_PICTURE, steps=steps, denoise=least))


@pytest.mark.parametrize(
    ("fields", "field", "allowed"),
    [
        ({"sampler": "ddpm", "eta": 0.5}, "sampler", ["euler", "heun", "lcm"]),
        ({"sigmas": "karras"}, "sigmas", ["simple", None]),
        ({"sigmas": "simple", "sampler": "euler"}, "sigmas", ["karras", None]),
        ({"sigmas": "simple", "sampler": "heun"}, "sigmas", [None]),
        ({"eta": 0.0, "sampler": "euler"}, "eta", [None]),
        ({"clip_skip": 1, "prompt_syntax": "weighted"}, "clip_skip", [None]),
        ({"prompt": "a (b", "prompt_syntax": "weighted"}, "prompt", None),
        ({"clip_skip": 12}, "clip_skip", {"maximum": 11}),
        ({"guidance_scale": 0.5}, "guidance_scale", {"minimum": 1.0}),
        ({"steps": 51, "sampler": "lcm"}, "steps", {"maximum": 50}),
        ({"guidance_rescale": 0.7, "guidance_scale": 1.0}, "guidance_rescale", [None]),
        ({"negative_prompt_2": "a", "guidance_scale": 1.0}, "negative_prompt_2", [None]),
    ],
)
def test_what_would_change_nothing_with_the_rest_of_a_request_is_refused(
    fields: dict[str, Any], field: str, allowed: Any
) -> None:
    model = profile(
        obeys=ALL,
        samplers=["euler", "heun", "lcm"],
        sampler_sigmas={"own": ["simple"], "euler": ["karras"]},
        eta_samplers=["own"],
        max_clip_skip=11,
        sampler_steps={"lcm": 50},
        negative_over=1.0,
    )
    assert refused(model, request(**fields)) == {field: allowed}


def test_what_is_off_may_be_said() -> None:
    model = profile(obeys=ALL, max_clip_skip=11)
    assert not refused(model, request(guidance_rescale=0.0, guidance_scale=1.0))
    for off in (0.0, 1.0):
        assert not refused(profile(obeys=ALL, negative_over=1.0), request(guidance_scale=off))
    assert not refused(profile(obeys=ALL, negative_over=0.0), request(guidance_scale=0.5)), "guided from 0 on"


def test_a_size_that_no_memory_is_there_for_is_refused_with_the_longest_side_that_would_do() -> None:
    model = profile(obeys=ALL, max_pixels=64 * 100, size_multiple=16)
    assert not refused(model, request(width=64, height=96))
    assert refused(model, request(width=64, height=112)) == {"height": {"maximum": 96}}
    assert refused(model, request(width=128, height=64)) == {"width": {"maximum": 96}}
    (one,) = disobeyed(model, request(width=128, height=64))
    assert one.code == "size_over_memory" and "128×64" in one.message and "6400 pixels" in one.message
    assert not refused(profile(obeys=ALL), request(width=128, height=128)), "not known"
