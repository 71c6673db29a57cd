"""Weighted prompts: what is read of brackets, and what is refused."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.shared.prompts import Part, texts, weighted
from tests.app.shared.making import request


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a red apple", [("a red apple", 1)]),
        ("a (red:1.3) apple", [("a", 1), (" red", 1.3), (" apple", 1)]),
        ("a (red) apple", [("a", 1), (" red", 1.1), (" apple", 1)]),
        ("(red apple: 0.5 )", [("red apple", 0.5)]),
        ("(red:+1.5)", [("red", 1.5)]),
        ("((red:1.5) apple:2)", [("red", 3), (" apple", 2)]),
        ("(red:1.0) apple", [("red apple", 1)]),
        ("(red:1.2)(blue:1.2)", [("redblue", 1.2)]),
        (r"a smile \(\:", [(r"a smile (\:", 1)]),
        (r"(a\) b:2) \\", [("a) b", 2), (" \\", 1)]),
        ("at 3:15 [red] (16:9)", [("at 3:15 [red]", 1), (" 16", 9)]),
        ("(a: b)", [("a: b", 1.1)]),
        ("( :2)", [(" ", 1)]),
        ("", [("", 1)]),
    ],
)
def test_brackets_weigh_what_is_in_them(text: str, parts: list[tuple[str, float]]) -> None:
    found = weighted(text)
    assert [one.text for one in found] == [text for text, _ in parts]
    assert [one.weight for one in found] == pytest.approx([weight for _, weight in parts])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a (red apple", "1 of its brackets are not closed"),
        ("a red) apple", "closes at character 6 was not opened"),
        ("((red:4):4)", "'red' weighs 16; at most 10"),
        ("((red:-1):-1)", "the weight at character 9 is -1; the least is 0"),
        ("(" * 17 + "red" + ")" * 17, "the bracket at character 17 is in 16 others"),
    ],
)
def test_brackets_that_say_nothing_are_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        weighted(text)


@given(st.text(st.sampled_from(list("ab :.1() \\")), max_size=20))
def test_parts_are_the_whole_text_without_its_marks(text: str) -> None:
    try:
        found = weighted(text)
    except ValueError:
        return
    letters = [char for char in text if char in "ab"]
    assert [char for part in found for char in part.text if char in "ab"] == letters
    assert all(part.text == part.text.rstrip() for part in found[:-1])
    assert all(one.weight != other.weight for one, other in pairwise(found))


@given(st.text(max_size=20))
def test_plain_prompts_are_read_as_they_stand(text: str) -> None:
    asked = request(prompt=f"a{text}")
    assert next(one.parts for one in texts(asked, ["text_encoder"])) == [Part(f"a{text}", 1.0)]
