"""Text from outside: what cannot be seen is as nothing, what steers a terminal is refused."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.shared.text import blank, no_control_characters
from app.shared.wire.generation import GenerationRequest

INVISIBLE = [
    "\u200b",
    "\u2060\ufeff",
    "\u202e",
    "\u3164",
    "\u00ad",
    " \n\t",
    "\u3000",
    "\ufe0f",
    "\u2800",
    "\u0301",
    "\U000e0041",
]


@pytest.mark.parametrize("text", INVISIBLE, ids=ascii)
def test_a_prompt_of_what_cannot_be_seen_is_empty(text: str) -> None:
    assert blank(text)
    with pytest.raises(ValidationError, match="nothing that can be seen"):
        GenerationRequest.model_validate({"prompt": text})
    assert GenerationRequest.model_validate({"prompt": f"a{text}"}).prompt == f"a{text}", (
        "what is beside it is left as it is"
    )


@pytest.mark.parametrize("text", ["a", "猫", "é", "e\u0301", "🦋", ".", "\u200ba", "👩\u200d🚀", "한"], ids=ascii)
def test_what_can_be_seen_is_no_blank(text: str) -> None:
    assert not blank(text)


@pytest.mark.parametrize("code", [*range(32), *range(127, 160)])
def test_control_characters_of_both_kinds_are_refused(code: int) -> None:
    text = f"a{chr(code)}b"
    if chr(code) in "\n\t":
        assert no_control_characters(text) == text
        return
    with pytest.raises(ValueError, match=f"U\\+{code:04X}"):
        no_control_characters(text)


@pytest.mark.slow
@given(st.text())
def test_a_text_is_taken_as_it_is_or_refused(text: str) -> None:
    steering = any(unicodedata.category(one) in ("Cc", "Cs") and one not in "\n\t" for one in text)
    try:
        assert no_control_characters(text) == text and not steering
    except ValueError:
        assert steering
