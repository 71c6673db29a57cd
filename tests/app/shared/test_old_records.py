"""Records of version 0.1 are read with today's names, and nothing else is changed in any record."""

import json

import pytest

from app.shared.accepted import Accepted
from app.shared.old_records import MARK, in_new_words
from app.shared.records import MANIFEST, PENDING, Kind
from tests import old_store
from tests.app.shared.test_records import ACCEPTED


@pytest.mark.parametrize(
    ("pattern", "kind"),
    [("pending/*.json", PENDING), ("generations/*/manifest.json", MANIFEST)],
    ids=["waits", "ended"],
)
def test_an_old_record_is_read_with_all_that_it_says(pattern: str, kind: Kind[Accepted]) -> None:
    for old in old_store.records(pattern):
        generation = old["generation"]
        key = pattern.replace("*", generation["id"])
        for text in (json.dumps(old), json.dumps(old).encode()):
            new = json.loads(kind.read(key, text).model_dump_json())
            assert old_store.lost(old, new) == []
        for before, use in zip(
            generation["request"]["adapters"], new["generation"]["request"]["adapters"], strict=True
        ):
            assert use["schedule"] == before["steps"]


@pytest.mark.parametrize(
    "text",
    [ACCEPTED.encode(), b"", b"\xff", b"{", b"{%s: 1}" % MARK, b"[%s]" % MARK, MARK],
    ids=lambda text: repr(text[:12]),
)
def test_text_that_is_new_or_no_record_is_left_as_it_is(text: bytes) -> None:
    assert in_new_words(text) is text
