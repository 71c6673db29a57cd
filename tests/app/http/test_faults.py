"""Every refusal says where, why and what may stand there instead, and says all of it at once."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from redis import Redis

from app.shared.catalog import Catalog
from app.shared.old_records import NEW_NAMES
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.adapter import AdapterUse
from app.shared.wire.generation import MAX_SEED, GenerationRequest
from tests.app.shared.making import profile, version

JSON = {"content-type": "application/json"}
ENTRY = {"pointer", "code", "message", "allowed"}


def errors(answer: httpx.Response) -> list[dict[str, Any]]:
    body = answer.json()
    assert 400 <= answer.status_code < 500, answer.text
    assert body["errors"] and all(set(one) >= ENTRY for one in body["errors"]), body
    return body["errors"]


@pytest.mark.parametrize(
    ("fields", "places"),
    [
        ({"steps": 1000}, [("/steps", "steps_over_limit", {"maximum": 150})]),
        ({"width": 1024}, [("/width", "size_over_limit", {"maximum": 128})]),
        ({"count": 17}, [("/count", "count_over_limit", {"maximum": 16})]),
        ({"prompt": "a" * 2001}, [("/prompt", "prompt_too_long", {"maxLength": 2000})]),
        ({"sampler": "dimm"}, [("/sampler", "sampler_unknown", ["ddim"])]),
        (
            {"width": 72, "height": 8},
            [(f"/{side}", "size_not_multiple", {"multipleOf": 16}) for side in ("width", "height")],
        ),
        (
            {"negative_prompt": "b", "guidance_scale": 0.5},
            [("/negative_prompt", "not_obeyed", [""]), ("/guidance_scale", "not_obeyed", [1.0])],
        ),
        ({"model": "emoji"}, [("/model", "model_unknown", ["emoji-64"])]),
        ({"seed": MAX_SEED, "count": 3}, [("/seed", "seed_over_limit", {"minimum": 0, "maximum": MAX_SEED - 2})]),
        ({"adapters": [{"ref": "b"}]}, [("/adapters/0/ref", "adapter_unknown", None)]),
        ({"adapters": [{"ref": "a"}, {"ref": "a:1"}]}, [("/adapters/1/ref", "adapter_twice", None)]),
        (
            {"adapters": [{"ref": "a", "strengths": {"text_encoder": 1}}]},
            [("/adapters/0/strengths/text_encoder", "component_unknown", ["unet"])],
        ),
        (
            {"adapters": [{"ref": "a", "blocks": {"middle": 1}}]},
            [("/adapters/0/blocks/middle", "block_unknown", ["down", "mid"])],
        ),
        (
            {"upscale": {"scale": 1.5, "denoise": 0.4, "method": "latent"}},
            [("/upscale/denoise", "denoise_too_small", {"minimum": 0.5})],
        ),
        ({"stack_mode": "product"}, [("/stack_mode", "literal_error", ["sum", "sequential"])]),
        (
            {"steps": 1000, "sampler": "x", "adapters": [{"ref": "b"}, {"ref": "a", "blocks": {"x": 1, "y": 1}}]},
            [
                ("/steps", "steps_over_limit", {"maximum": 150}),
                ("/sampler", "sampler_unknown", ["ddim"]),
                ("/adapters/0/ref", "adapter_unknown", None),
                ("/adapters/1/blocks/x", "block_unknown", ["down", "mid"]),
                ("/adapters/1/blocks/y", "block_unknown", ["down", "mid"]),
            ],
        ),
        (
            {"width": 9, "seed": -1, "adapters": [{"ref": "A", "strength": 99}]},
            [
                ("/adapters/0/ref", "string_pattern_mismatch", ...),
                ("/adapters/0/strength", "less_than_equal", {"type": "number", "minimum": -20.0, "maximum": 20.0}),
                ("/width", "multiple_of", {"type": "integer", "minimum": 8, "maximum": 16384, "multipleOf": 8}),
                ("/seed", "greater_than_equal", {"type": "integer", "minimum": 0, "maximum": MAX_SEED}),
            ],
        ),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else "",
)
def test_a_refusal_names_each_place_and_what_is_allowed(
    api: httpx.Client, settings: Settings, redis: Redis, fields: dict[str, Any], places: list[Any]
) -> None:
    storage = Storage(settings.store_url)
    obeys = {"negative_prompt": False, "guidance_scale": False, "width": True, "upscale": True}
    facts = profile(blocks=["down", "mid"], obeys=obeys, guidance_scale=1.0, size_multiple=16)
    Profiles(storage, settings).publish(facts, {"unet": {}})
    Catalog(storage, redis).admit(version("a"), {})
    answer = api.post("/v1/generations", json={"prompt": "a"} | fields)
    found = [(one["pointer"], one["code"], one["allowed"]) for one in errors(answer)]
    expected = [
        (place, code, seen[2] if allowed is ... else allowed)
        for (place, code, allowed), seen in zip(places, found, strict=True)
    ]
    assert found == expected
    assert list(storage.keys("pending")) == []


def test_the_nearest_sizes_are_told(api: httpx.Client, settings: Settings) -> None:
    Profiles(Storage(settings.store_url), settings).publish(profile(size_multiple=16), {"unet": {}})
    answer = api.post("/v1/generations", json={"prompt": "a", "width": 72, "height": 8})
    wide, high = (one["message"] for one in errors(answer))
    assert wide.endswith("nearest 64 or 80") and high.endswith("nearest 16")


def test_one_sentence_for_two_fields_is_told_once(api: httpx.Client, settings: Settings) -> None:
    Profiles(Storage(settings.store_url), settings).publish(profile(sizes=[(64, 64), (128, 64)]), {"unet": {}})
    answer = api.post("/v1/generations", json={"prompt": "a", "width": 72, "height": 8})
    assert [one["pointer"] for one in errors(answer)] == ["/width", "/height"]
    assert answer.json()["detail"].count("none of the sizes") == 1


def test_what_may_have_been_meant_is_told(api: httpx.Client, storage: Storage, redis: Redis) -> None:
    Catalog(storage, redis).admit(version("watercolour"), {})
    answer = api.post("/v1/generations", json={"prompt": "a", "adapters": [{"ref": "watercolor"}]})
    assert "did you mean 'watercolour'" in errors(answer)[0]["message"]


@pytest.mark.parametrize("old", NEW_NAMES)
def test_a_name_of_version_0_1_is_refused_with_the_new_one(api: httpx.Client, old: str) -> None:
    places = {"": {"prompt": "a", old: "auto"}, "/adapters/0": {"prompt": "a", "adapters": [{"ref": "a", old: []}]}}
    known = {"": GenerationRequest, "/adapters/0": AdapterUse}
    told = 0
    for place, body in places.items():
        if old not in known[place].model_fields:
            (wrong,) = errors(api.post("/v1/generations", json=body))
            assert (wrong["pointer"], wrong["code"]) == (f"{place}/{old}", "extra_forbidden")
            told += f"it is called {NEW_NAMES[old]!r}" in wrong["message"]
    assert told == 1, "where the new name is a field"


@pytest.mark.parametrize(
    ("method", "path", "place"),
    [
        ("GET", "/v1/generations/x", "/path/generation_id"),
        ("DELETE", "/v1/adapters/nobody", "/path/name"),
        ("GET", "/v1/adapters/nobody", "/path/ref"),
        ("GET", "/v1/adapters/NOBODY", "/path/ref"),
        ("GET", "/v1/images/x.png", "/path/key"),
        ("GET", "/nowhere", ""),
        ("PUT", "/v1/generations", ""),
    ],
)
def test_what_is_not_there_is_pointed_at_too(api: httpx.Client, method: str, path: str, place: str) -> None:
    assert [one["pointer"] for one in errors(api.request(method, path))] == [place]


WORDS = st.sampled_from(["prompt", "adapters", "ref", "seed", "steps", "strengths", "blocks", "width", "a/b", "~", ""])
BODIES = st.dictionaries(
    WORDS,
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=6,
)


def there(value: Any, pointer: str) -> bool:
    """Whether a pointer (RFC 6901) leads somewhere in a value, or to what is missing there."""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    for index, step in enumerate(steps):
        if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return isinstance(value, dict) and index == len(steps) - 1
    return True


@examples(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES)
def test_every_pointer_leads_somewhere(api: httpx.Client, body: dict[str, Any]) -> None:
    answer = api.post("/v1/generations", content=json.dumps(body), headers=JSON)
    if answer.status_code != 202:
        for one in errors(answer):
            assert there(body, one["pointer"]), (body, one)
