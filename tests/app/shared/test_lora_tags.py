"""`<lora:…>` is the entry that its writer means, or a sentence."""

from typing import Any

import pytest

from app.shared.lora_tags import TagRefused, split, use_of
from app.shared.wire.adapter import AdapterUse
from tests.app.shared.making import MODEL, version

BOTH = version("ink", components=["unet", "text_encoder"])
DENOISER = version("ink", components=["unet"])


@pytest.mark.parametrize(
    ("tag", "entry"),
    [
        ("<lora:ink>", {"strength": 1.0}),
        ("<lora:ink:0.8>", {"strength": 0.8}),
        ("<lyco:ink:-.5>", {"strength": -0.5}),
        ("<lora:ink:0.5:0.8>", {"strength": 0.8, "strengths": {"text_encoder": 0.5}}),
        ("<lora:ink:1:te=0.5:unet=0.7:dyn=16>", {"strength": 0.7, "strengths": {"text_encoder": 0.5}, "rank": 16}),
        ("<lora:ink:1:1:4>", {"strength": 1.0, "rank": 4}),
        ("<lora:ink:0.5:in=0.25:mid=0.5:out=1>", {"strength": 0.5, "blocks": {"down": 0.5, "mid": 1.0, "up": 2.0}}),
        ("<lora:ink:te=1:unet=0.2@0,1@0.6>", {"schedule": [(0, 0.2), (0.6, 1)]}),
        ("<lora:ink:0.8@0.2-0.7:te=0>", {"schedule": [(0, 0), (0.2, 0.8), (0.7, 0)], "strengths": {"text_encoder": 0}}),
        ("<lora:ink:1:step=4-14>", {"schedule": [(0, 0), (0.2, 1), (0.7, 0)]}),
        ("<lora:ink:1:stop=10>", {"schedule": [(0, 1), (0.5, 0)]}),
        ("<lora:ink:1:start=10>", {"schedule": [(0, 0), (0.5, 1)]}),
    ],
)
def test_every_form_is_an_entry(tag: str, entry: dict[str, Any]) -> None:
    prompt, (found,) = split(f"a red apple {tag}")
    assert prompt == "a red apple" and found.name == "ink"
    use = AdapterUse.model_validate({"ref": "ink", **use_of(found, BOTH, MODEL, 20)})
    assert use == AdapterUse.model_validate({"ref": "ink", "strength": 1.0, **entry})


def test_a_text_encoders_strength_says_nothing_where_none_is_changed() -> None:
    (found,) = split("<lora:ink:0.1:0.8>")[1]
    assert use_of(found, DENOISER, MODEL, 20) == {"strength": 0.8}
    (found,) = split("<lora:ink:0.2@0,1@12>")[1]
    assert use_of(found, DENOISER, MODEL, 20)["schedule"] == [(0, 0.2), (0.6, 1)]


@pytest.mark.parametrize(
    "said",
    ["much", "1:2:3:4", "lbw=1,0,1", "te=1:te=2", "1@0.6", "1@0.6,0@0", "1@0,2@1", "1@0@1", "1:step=4", "1:step=4-4",
     "1:stop=30", "1:start=-1", "1:dyn=x", "0:in=1", "1@0-0.5:stop=3", "1e9", "٣", "", "1@" + ",1@" * 99],
)  # fmt: skip
def test_what_cannot_be_said_is_a_sentence(said: str) -> None:
    (found,) = split(f"<lora:ink:{said}>")[1]
    with pytest.raises(TagRefused, match=r"^<lora:ink.*: "):
        use_of(found, DENOISER, MODEL, 20)


def test_what_is_no_tag_stays() -> None:
    for prompt in ("a < b", "<b>bold</b>", "<lora>", "<lora:a", "<hypernet:x:1>", "<lora:" + "x" * 9999 + ">"):
        assert split(prompt) == (prompt, [])
