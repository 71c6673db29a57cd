"""Laws that every family of base models holds, served by the real engine and judged by the real acceptance.

The gate runs a few families; `pytest tests/families --every` runs all of them.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from app.shared.wire.adapter import AdapterSettings, AdapterUse
from app.shared.wire.generation import GenerationRequest, Status
from app.shared.wire.model import OWN_SAMPLER
from tests.families.serving import OTHER_PROMPT, Diffusers, Served, apart
from tests.workers.drawing.pictures import gradient, spot
from tests.workers.drawing.test_request_fields import ROUNDING, UNSEEN, VALUES, another
from workers.models.components import components_of
from workers.models.device_memory import decodes
from workers.models.looking import look

# Of libraries, about what they will do one day; here only pictures matter
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "FutureWarning", "UserWarning")
]
# Fields that other tests are about, or that decide no pixel
ASIDE = {"priority", "webhook", "metadata", "start_within_s"}  # part of no picture
OF_THE_FILE = {"output_format", "quality"}  # tests/workers/drawing/test_encoding.py has these
ELSEWHERE = {"adapters", "stack_mode", "sampler", "sigmas"} | ASIDE | OF_THE_FILE
MANY_STEPS = 4  # with which samplers differ
ONE_AND_THE_SAME = ({"ddim", "euler"}, {"ddpm", "euler_a"})  # in two notations, where they begin and end alike
OVER_AND_OVER = " red"  # one token more for every tokenizer here


@pytest.fixture(scope="module")
def plain(served: Served) -> np.ndarray:
    """The usual picture, drawn before any adapter."""
    return served.drawn()


def test_plain_is_diffusers_own(served: Served, diffusers: Diffusers, plain: np.ndarray) -> None:
    assert apart(plain, diffusers.drawn()) == 0


def test_what_is_told_without_loading_is_what_is_obeyed(served: Served) -> None:
    """Not loaded, a base has no fingerprint."""
    looked = look(served.family.name, served.settings)
    assert looked.profile == served.base.profile.model_copy(update={"fingerprint": ""})
    modules = [part for part in served.base.pipeline.components.values() if isinstance(part, torch.nn.Module)]
    assert looked.memory_bytes == sum(weight.nbytes for module in modules for weight in module.parameters())


def test_an_adapter_on_each_component_is_its_merge(served: Served, diffusers: Diffusers, plain: np.ndarray) -> None:
    assert set(served.base.profile.components) == set(served.family.components)
    for component in served.family.components:
        use, layers = served.lora(component)
        drawn = served.drawn(adapters=[use])
        with diffusers.merged(component, layers):
            expected = diffusers.drawn()
        assert apart(drawn, expected) <= served.family.apart, component
        assert apart(drawn, plain) > served.family.apart, f"{component} is not heard"


def test_a_bypass_draws_what_a_merge_does_or_is_refused(served: Served) -> None:
    """Where a model computes with a weight without calling its layer, the engine merges instead, and says so."""
    for component in served.family.components:
        use, _ = served.lora(component)
        asked = {"adapters": [use], "apply": "bypass"}
        if refusal := served.refusal(**asked):
            assert refusal.code == "bypass_impossible", refusal
            continue
        beside, merged = served.ended(**asked), served.ended(adapters=[use])
        most = served.family.apart if beside.applied == "bypass" else 0
        assert apart(served.pixels(beside), served.pixels(merged)) <= most, (component, beside.applied)


def fields(served: Served) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Every field of a request, with a value that is not the usual one, and what it needs beside it."""
    usual, profile = served.accepted(), served.base.profile
    special = VALUES | {
        "prompt": OTHER_PROMPT,
        "width": usual.width + profile.size_multiple,
        "height": usual.height + profile.size_multiple,
        "seed": usual.seed + 1,
        "steps": usual.steps + 1,
        "guidance_scale": usual.guidance_scale + 2,
        "original_size": [usual.height, usual.width * 2],
        "target_size": [usual.height, usual.width * 2],
    }
    samplers = {name: {} if name == OWN_SAMPLER else {"sampler": name} for name in profile.eta_samplers}
    beside = {"eta": next(iter(samplers.values()), {}), "prompt_syntax": {"prompt": "a (red:1.5) apple"}}
    special |= pictured(served)
    beside |= beside_pictures(served)
    for field in sorted(GenerationRequest.model_fields.keys() - UNSEEN - ELSEWHERE):
        if (value := special.get(field)) is None:
            value = another(field, getattr(usual, field), GenerationRequest)
        yield field, value, beside.get(field, {})
    if not profile.samplers:
        yield "sampler", "ddim", {}
    if not profile.sampler_sigmas:
        yield "sigmas", "karras", {}


def pictured(served: Served) -> dict[str, Any]:
    """Values of the fields about pictures."""
    width, height = served.family.size
    mask = spot(width, height, (0, 0), 0.125)
    given = {"init_image": gradient(width, height), "mask_image": mask}
    refs: dict[str, Any] = {field: served.pictures.put(picture).ref for field, picture in given.items()}
    return refs | {
        "upscale": {"scale": 1.5, "denoise": 0.5},
        "reference_images": [served.pictures.put(gradient(96, 64)).ref],
        "denoise": 0.5,
    }


def beside_pictures(served: Served) -> dict[str, dict[str, Any]]:
    """What those fields say nothing without."""
    width, height = served.family.size
    chosen = pictured(served)
    init = {"init_image": chosen["init_image"], "denoise": 1.0}
    masked = init | {"mask_image": chosen["mask_image"]}
    other = served.pictures.put(gradient(width + 32, height)).ref
    return {
        **dict.fromkeys(("denoise", "mask_image"), init),
        **dict.fromkeys(("mask_blur", "inpaint_area"), masked),
        "init_image": {"init_image": served.pictures.put(gradient(width, height, 1)).ref, "denoise": 0.5},
        "inpaint_padding": masked | {"inpaint_area": "masked"},
        "fit": {"init_image": other, "denoise": 0.5, "fit": "stretch"},
    }


def test_every_field_changes_the_picture_or_is_refused(served: Served, plain: np.ndarray) -> None:
    for field, value, beside in fields(served):
        if refusal := served.refusal(**beside | {field: value}):
            assert any(reason["pointer"].startswith(f"/{field}") for reason in refusal.reasons), (field, refusal)
            continue
        usual, drawn = served.drawn(**beside) if beside else plain, served.drawn(**beside | {field: value})
        assert field in ROUNDING or drawn.shape != usual.shape or apart(drawn, usual), f"{field} changes nothing"


def test_every_setting_of_an_adapter_changes_the_picture_or_is_refused(served: Served) -> None:
    denoiser, last = served.family.components[0], served.base.profile.blocks[-1]
    use, _ = served.lora(denoiser)
    usual = served.drawn(adapters=[use])
    values = {
        "strength": 0.5,
        "strengths": {denoiser: 0.5},
        "blocks": {last: 0.5},
        "schedule": [[0.0, 0.2], [0.5, 1.0]],
        "rank": 1,
        "image": f"image:{'0' * 64}",
        "images": [f"image:{'0' * 64}"],
        "mask": f"image:{'0' * 64}",
        "thresholds": [50, 150],
    }
    for field in AdapterSettings.model_fields.keys() - {"ref"}:
        adapters = [use | {field: values.get(field) or another(field, getattr(AdapterUse(ref="a"), field), AdapterUse)}]
        if refusal := served.refusal(adapters=adapters):
            assert any(reason["pointer"].startswith("/adapters/0") for reason in refusal.reasons), (field, refusal)
            continue
        assert apart(served.drawn(adapters=adapters), usual), f"{field} changes nothing"


def test_a_size_comes_out_as_asked_or_is_refused_with_what_would_be_right(served: Served) -> None:
    profile, (width, height) = served.base.profile, served.family.size
    assert profile.size_multiple % served.family.multiple == 0
    for wider, higher in ((profile.size_multiple, 0), (0, profile.size_multiple), (8, 0), (0, 8)):
        asked = {"width": width + wider, "height": height + higher}
        if refusal := served.refusal(**asked):
            assert str(width) in refusal.message and any(reason["allowed"] for reason in refusal.reasons), refusal
            continue
        assert served.drawn(**asked).shape[:2] == (asked["height"], asked["width"])


def test_a_prompt_is_read_whole_or_refused_with_the_count(served: Served) -> None:
    def refused(words: int) -> bool:
        refusal = served.refusal(prompt=("red" + OVER_AND_OVER * (words - 1)))
        assert refusal is None or refusal.code == "prompt_too_long", refusal
        return refusal is not None

    least, most = 1, 8192
    assert refused(most) and not refused(least)
    while most - least > 1:
        between = (least + most) // 2
        least, most = (least, between) if refused(between) else (between, most)
    refusal = served.refusal(prompt="red" + OVER_AND_OVER * (most - 1))
    (limit,) = (reason["allowed"]["maxTokens"] for reason in refusal.reasons)  # type: ignore[union-attr]
    assert f"{limit + 1} tokens" in str(refusal)
    longest = "red" + OVER_AND_OVER * (least - 2)
    ends = (served.drawn(prompt=longest + last) for last in (" red", " blue"))
    assert apart(*ends), f"the last of {least} words is not read"


def test_each_sampler_draws_its_own_picture(served: Served) -> None:
    drawn = {name: served.drawn(sampler=name, steps=MANY_STEPS) for name in served.base.profile.samplers}
    for (one, first), (other, second) in combinations(drawn.items(), 2):
        if {one, other} not in ONE_AND_THE_SAME:
            assert apart(first, second), f"{one} and {other} draw the same picture"


def test_each_way_of_spacing_noise_draws_its_own_picture(served: Served) -> None:
    for sampler, ways in served.base.profile.sampler_sigmas.items():
        chosen = {} if sampler == OWN_SAMPLER else {"sampler": sampler}
        drawn = {way: served.drawn(sigmas=way, steps=MANY_STEPS, **chosen) for way in ways}
        for (one, first), (other, second) in combinations(drawn.items(), 2):
            assert apart(first, second), f"{one} and {other} of {sampler} draw the same picture"


def test_a_cancel_frees_the_worker_within_a_step(served: Served) -> None:
    generation = served.ledger.accept(served.accepted(steps=10 * MANY_STEPS))
    calls = 0

    def cancel(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            served.ledger.cancel(generation.id)

    denoiser = components_of(served.base.pipeline)[served.family.components[0]]
    hook = denoiser.register_forward_pre_hook(cancel)
    served.engine.run(generation.id)
    hook.remove()
    assert served.ledger.get(generation.id).status is Status.CANCELED
    assert calls <= 2  # with guidance some call the denoiser twice a step


def test_each_step_is_told_once(served: Served) -> None:
    generation = served.ended(steps=MANY_STEPS)
    assert served.events(generation, "progress") == MANY_STEPS


def test_a_picture_that_is_not_finite_is_not_stored(served: Served) -> None:
    (decoder,) = [part.decoder for part in vars(served.base.pipeline).values() if decodes(part)]
    weight = next(decoder.parameters())
    before = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("nan"))
        failed = served.ended()
        weight.copy_(before)
    assert failed.error is not None and failed.error.code == "picture_not_finite", failed.status
    assert not failed.images
    assert served.ended().status is Status.SUCCEEDED


def test_after_all_swaps_the_plain_picture_is_the_same_file(served: Served) -> None:
    (before,), uses = served.ended().images, [served.lora(component)[0] for component in served.family.components]
    for use in (*uses, *reversed(uses)):
        served.ended(adapters=[use])
    served.ended(adapters=uses)
    (after,) = served.ended().images
    assert after.sha256 == before.sha256
