"""JSON that two readers could read differently is refused, with a pointer to where."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http.faults import pointer
from app.http.strict_json import parse
from app.shared.errors import BadRequest

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def refusal(text: str | bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(text if isinstance(text, bytes) else text.encode())
    assert caught.value.code == "invalid_request" and caught.value.reasons
    return caught.value


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('{"seed": 1, "seed": 2}', ["/seed"]),
        ('{"seed": 1, "se\\u0065d": 2}', ["/seed"]),
        ('{"a": [{"b": {"c/d": 1, "c/d": 1}}]}', ["/a/0/b/c~1d"]),
        ('{"a": {"x": 1, "x": 1}, "b": 1, "b": 2, "b": 3}', ["/a/x", "/b"]),
        ('{"a": NaN, "b": [-Infinity]}', ["/a", "/b/0"]),
        ('{"a": "\\ud800"}', ["/a"]),
        ('{"a": {"\\udfff": 1}}', ["/a"]),
    ],
)
def test_a_fault_has_a_place(text: str, places: list[str]) -> None:
    assert sorted(one["pointer"] for one in refusal(text).reasons) == places


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"  ", b"{", b"{}{}", b"\xff", b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"{'a': 1}", b'{"a": 01}'),
        *(b'{"a": "\n"}', b"[" * 100_000, b"[1" + b"0" * 5000 + b"]", b'{"a": 1,}', b"// no\n{}", b'{"a": "\xe4"}'),
    ],
    ids=lambda data: ascii(data[:12]),
)
def test_what_is_no_json_is_told_so(data: bytes) -> None:
    assert len(str(refusal(data))) > 10


@given(VALUES)
def test_what_json_says_is_what_is_read(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.text(), VALUES)
def test_a_key_said_twice_is_found_at_any_depth(path: list[str], key: str, value: Any) -> None:
    said = json.dumps({key: value})
    text = f"{said[:-1]}, {said[1:]}"
    for step in reversed(path):
        text = json.dumps({step: None}).replace("null", text, 1)
    assert pointer([*path, key]) in [one["pointer"] for one in refusal(text).reasons]
