"""The request that a picture's text means: what is said, what is found here, and what cannot be said, by name."""

import json
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from redis import Redis

from app.accepting.recipes import meant, meant_by_text
from app.shared.catalog import Catalog
from app.shared.errors import BadRequest
from app.shared.pictures import Pictures
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import GenerationRequest
from app.shared.wire.recipe import MeantRequest, Written
from tests.app.shared.making import MODEL, profile, version

STYLE, INK = sha256(b"style").hexdigest(), sha256(b"ink").hexdigest()
AUTOV3 = "c0ffee123456"


@pytest.fixture
def parts(storage: Storage, redis: Redis, settings: Settings) -> Any:
    profiles, catalog = Profiles(storage, settings), Catalog(storage, redis)
    profiles.publish(profile(), {"unet": {}})
    catalog.admit(version("style", b"style"), {MODEL: {"autov3": AUTOV3}})
    catalog.admit(version("ink", b"ink", components=["unet", "text_encoder"]), {})
    return SimpleNamespace(
        settings=settings, profiles=profiles, catalog=catalog, pictures=Pictures(storage), liveness=None
    )


def left(found: MeantRequest) -> set[str]:
    return {one.name for one in found.unmatched}


def infotext(parts: Any, line: str, prompt: str = "a cat") -> MeantRequest:
    return meant_by_text(parts, f"{prompt}\nNegative prompt: ugly\nSteps: 12, {line}")


def test_an_infotext_of_a1111(parts: Any) -> None:
    found = infotext(
        parts,
        "Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 42, Size: 64x128, Model: emoji-64, "
        f'Clip skip: 2, Lora hashes: "a: {AUTOV3}, b: {INK[:10]}", Version: v1.10.1',
        "a (red:1.2) cat <lora:a:0.8> <lora:b:0.5:1>",
    )
    assert found.unmatched == []
    assert found.request == {
        "prompt": "a (red:1.2) cat",
        "negative_prompt": "ugly",
        "prompt_syntax": "weighted",
        "model": MODEL,
        "steps": 12,
        "sampler": "dpmpp_2m_karras",
        "guidance_scale": 7.5,
        "seed": 42,
        "width": 64,
        "height": 128,
        "clip_skip": 1,
        "adapters": [
            {"ref": f"sha256:{STYLE}", "strength": 0.8},
            {"ref": f"sha256:{INK}", "strengths": {"text_encoder": 0.5}},
        ],
    }
    assert [(one.name, one.by) for one in found.found.adapters] == [("style", "autov3"), ("ink", "autov2")]
    GenerationRequest.model_validate(found.request)


def test_civitais_resources(parts: Any) -> None:
    listed = [
        {"type": "checkpoint", "modelVersionId": 1, "modelName": "Big, one"},
        {"type": "lora", "weight": 0.7, "modelVersionId": 22, "modelName": "Unknown"},
        {"type": "lora", "weight": 0.6, "hash": STYLE[:12].upper(), "modelName": "Style"},
    ]
    found = infotext(parts, f"Seed: 1, Civitai resources: {json.dumps(listed)}, Civitai metadata: {{}}")
    assert found.request["adapters"] == [{"ref": f"sha256:{STYLE}", "strength": 0.6}]
    assert [one.value for one in found.unmatched] == ["Big, one", "Unknown"]
    assert "civitai:22" in found.unmatched[1].reason


def test_what_is_named_with_a_hash_is_found_by_that_or_not_at_all(parts: Any) -> None:
    found = infotext(parts, 'Seed: 1, Lora hashes: "style: ffffffffffff"', "a cat <lora:style:1> <lora:ink:1>")
    assert found.request["adapters"] == [{"ref": f"sha256:{INK}"}]
    assert left(found) == {"<lora:style:1>"}


def test_a_file_is_named_once_and_never_by_a_name_whose_hash_is_anothers(parts: Any) -> None:
    twice = "a cat <lora:style:1> <lora:style:0.5>"
    found = infotext(parts, "Seed: 1", twice)
    assert len(found.request["adapters"]) == 1 and left(found) == {"<lora:style:0.5>"}
    found = infotext(parts, 'Seed: 1, Lora hashes: "style: ffffffffffff"', twice)
    assert "adapters" not in found.request and left(found) == {"<lora:style:1>", "<lora:style:0.5>"}
    found = of_recipe(parts, adapters=[{"sha256": STYLE}, {"sha256": STYLE, "strength": 0.2}])
    assert len(found.request["adapters"]) == 1 and [one.value for one in found.unmatched] == [STYLE]


@pytest.mark.parametrize(
    "text",
    [
        f'Civitai resources: [{{"type": "lora", "hash": "{STYLE[:10]}", "weight": 1{"0" * 400}}}]',
        'Civitai resources: [{"type": "lora", "modelVersionId": "1; rm -rf ~", "modelName": "\\ud800"}]',
        'X: "\\ud800"',
        'Hashes: {"lora:\\ud800": "\\udfff"}',
    ],
)
def test_whatever_a_line_says_is_answered_in_json(parts: Any, text: str) -> None:
    found = infotext(parts, f"Seed: 1, {text}")
    assert found.unmatched and "rm" not in found.unmatched[0].reason
    json.loads(found.model_dump_json())
    json.loads(meant_by_text(parts, '{"prompt": "\\ud800", "\\udfff": 1}').model_dump_json())


def test_brackets_are_read_as_their_program_does(parts: Any) -> None:
    assert infotext(parts, "Seed: 1", r"a \(cat\)").request["prompt"] == "a (cat)"
    found = infotext(parts, "Seed: 1, Version: Radiata 0.2", "a (cat)")  # ours may be plain, and does not say so
    assert found.request["prompt"] == "a (cat)" and left(found) == {"prompt_syntax"}
    assert left(infotext(parts, "Seed: 1", "a <lora:style cat, <lora:>")) == {"<lora:style"}


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("Sampler: Restart", "Sampler"),
        ("Sampler: Euler, Schedule type: Turbo", "Sampler"),
        ("Schedule type: Turbo", "Schedule type"),
        ("Size: large", "Size"),
        ("Seed: -1", "seed"),
        ("Seed: 9999999999999999", "seed"),
        ("CFG scale: much", "guidance_scale"),
        ("Clip skip: 0", "Clip skip"),
        ("Model: nobody's, Model hash: 0123456789", "Model"),
        ("Model: emoji-64, Model hash: 0123456789", "Model hash"),
        ("Denoising strength: 0.5", "Denoising strength"),
        ("Hires upscale: 2", "Hires upscale"),
        ("Hires resize: 128x128", "Hires resize"),
        ("Hires upscaler: Latent", "Hires upscaler"),
        ("Model hash: 0123456789", "Model hash"),
        ("Denoising strength: 0.5, Hires upscale: 2, Hires upscaler: ESRGAN", "Hires upscaler"),
        ("ControlNet 0: canny", "ControlNet 0"),
        ("Variation seed: 3", "Variation seed"),
        ("Whatever: 3", "Whatever"),
        ('Lora hashes: "x: 0123456789ab"', "x"),
    ],
)
def test_what_cannot_be_said_is_named(parts: Any, line: str, name: str) -> None:
    found = infotext(parts, f"RNG: CPU, {line}")
    assert left(found) == {name}
    GenerationRequest.model_validate(found.request)


def test_a_second_pass(parts: Any) -> None:
    found = infotext(parts, "Size: 64x64, Denoising strength: 0.5, Hires resize: 128x128, Hires upscaler: Latent")
    assert found.request["upscale"] == {"scale": 2.0, "denoise": 0.5, "method": "latent"}


def recipe(**fields: Any) -> dict[str, Any]:
    plain = {"prompt": "a cat", "negative_prompt": "", "base": "0" * 64, "seed": 3, "adapters": [], "applied": "merge"}
    how = {"dtype": "float32", "device": "cpu", "threads": None, "versions": {}}
    return {**plain, **how, "width": 64, "height": 64, "steps": 4, "guidance_scale": 3.0, **fields}


def of_recipe(parts: Any, **fields: Any) -> MeantRequest:
    return meant(parts, Written(recipe=json.dumps(recipe(**fields)), infotext="ignored", width=64, height=64))


def test_a_recipe_of_ours(parts: Any) -> None:
    picture = parts.pictures.put(Image.new("RGB", (64, 64))).ref
    entry = {"sha256": STYLE, "strength": 0.5, "strengths": {}, "blocks": {}, "schedule": [], "rank": 2, "ignore": []}
    found = of_recipe(parts, adapters=[entry], init_image=picture, denoise=0.5)
    assert found.unmatched == []
    assert found.request == {
        "prompt": "a cat",
        "model": MODEL,
        "seed": 3,
        "width": 64,
        "height": 64,
        "steps": 4,
        "guidance_scale": 3.0,
        "init_image": picture,
        "denoise": 0.5,
        "apply": "merge",
        "adapters": [{"ref": f"sha256:{STYLE}", "strength": 0.5, "rank": 2}],
    }
    assert found.found.source == "recipe" and found.found.infotext == "ignored"


def test_of_a_recipe_nothing_is_taken_that_decides_no_pixel(parts: Any) -> None:
    found = of_recipe(parts, webhook={"url": "https://evil.example/x"}, metadata={"a": "b"}, priority="high")
    assert left(found) == {"webhook", "metadata", "priority"}
    assert not found.request.keys() & {"webhook", "metadata", "priority"}


def test_what_a_recipe_has_and_this_service_has_not(parts: Any) -> None:
    nowhere = f"image:{'1' * 64}"
    entries = [{"sha256": STYLE, "strength": 99}, {"sha256": INK, "image": nowhere}, {"sha256": "2" * 64}, 7]
    found = of_recipe(
        parts, base="1" * 64, adapters=entries, init_image=nowhere, denoise=0.5, width=-3, steps="x", dtype="float16"
    )
    assert left(found) == {"base", "adapters", "init_image", "denoise", "width", "steps"}
    assert found.request == {"prompt": "a cat", "seed": 3, "height": 64, "guidance_scale": 3.0, "apply": "merge"}
    assert left(of_recipe(parts, device="cuda", dtype="float16")) == {"device", "dtype"}


@pytest.mark.parametrize("text", ["{}", '{"prompt": 7}', '{"adapters": {}}', json.dumps({"x" * 300: "y" * 9999})])
def test_a_recipe_without_a_prompt_says_so(parts: Any, text: str) -> None:
    found = meant_by_text(parts, text)
    assert "prompt" in left(found) and "prompt" not in found.request
    assert all(len(one.value) <= 200 and len(one.name) <= 200 for one in found.unmatched)


def test_much_is_named_once(parts: Any) -> None:
    found = meant_by_text(parts, json.dumps({f"field {at}": at for at in range(9999)}))
    assert len(found.unmatched) == 101


@pytest.mark.parametrize("written", [Written(), Written(recipe="[" * 9999), Written(others=["workflow"])])
def test_a_file_that_says_nothing(parts: Any, written: Written) -> None:
    with pytest.raises(BadRequest) as refused:
        meant(parts, written)
    assert refused.value.code == "recipe_missing"
    assert all(one in refused.value.message for one in written.others)
