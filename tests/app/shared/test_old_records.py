"""Records of version 0.1 are read with today's names, and nothing else is changed in any record."""

import json
from typing import Any

import pytest

from app.shared.old_records import MARK, in_new_words
from app.shared.records import MANIFEST, PENDING, Kind
from app.shared.schema import Accepted
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
    "text", [ACCEPTED, ACCEPTED.encode(), b"", b"\xff", "{", f"{{{MARK}: 1}}", f"[{MARK}]", f"{MARK}"], ids=repr
)
def test_text_that_is_new_or_no_record_is_left_as_it_is(text: Any) -> None:
    assert in_new_words(text) is text
