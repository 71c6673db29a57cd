"""What A1111's prompts mean here: the words that its own parser reads, with its weights or as they stand."""

import pytest

from app.shared.a1111_prompts import syntax_of, unread
from app.shared.prompts import weighted


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"a cat \(animal\)", "a cat (animal)"),
        (r"a \[cat\]", "a [cat]"),
        (r"a \\ cat", "a \\ cat"),
        (r"a cat", "a cat"),
        (r"a \cat", r"a \cat"),
    ],
)
def test_an_escaped_bracket_is_a_bracket(written: str, read: str) -> None:
    assert syntax_of(written) == ("plain", [read])
    syntax, (_, again) = syntax_of("a (cat)", written)  # also where the other prompt weighs words
    assert syntax == "weighted" and "".join(part.text for part in weighted(again)) == read


def test_what_is_not_read_is_found_behind_escapes() -> None:
    assert [unread(one) for one in (r"\[a\]", r"\\[a]", "a AND b", "a BREAK b", "<hypernet:x:1>", "BREAKFAST")] == [
        "", "[", "AND", "BREAK", "<hypernet:", ""]  # fmt: skip
    assert syntax_of(r"a \\(cat)")[0] == "weighted"
