"""Records of version 0.1 are read with today's names, and nothing else is changed in any record."""

import json

import pytest

from app.shared.accepted import Accepted
from app.shared.generation_records import begun as begun_generation
from app.shared.old_records import MARK, NEW_TRAINING_NAMES, TRAINING_MARK, in_new_words, training_in_new_words
from app.shared.records import MANIFEST, PENDING, TO_TRAIN, TRAINED, Kind
from app.shared.training_records import begun
from tests import old_store
from tests.app.shared.making import request, training_request
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


@pytest.mark.parametrize(("key", "kind"), [("to-train/{}.json", TO_TRAIN), ("trainings/{}/manifest.json", TRAINED)])
def test_a_training_of_before_its_fields_new_names_is_read_with_all_that_it_says(key: str, kind: Kind) -> None:
    asked = training_request(lr_scheduler="cosine", lr_warmup_steps=3, ema_decay=0.5, caption_dropout_rate=0.25)
    accepted = begun("0" * 32, asked, None)
    record = json.loads(kind.write(accepted))
    old_names = {new: old for old, new in NEW_TRAINING_NAMES.items()}
    request = record["training"]["request"]
    assert old_names.keys() <= request.keys()
    record["training"]["request"] = {old_names.get(name, name): one for name, one in request.items()}
    assert kind.read(key.format("0" * 32), json.dumps(record)) == accepted


@pytest.mark.parametrize("text", [b"", b"{", b"{%s: 1}" % TRAINING_MARK, b"[%s]" % TRAINING_MARK, TRAINING_MARK])
def test_text_that_is_no_training_is_left_as_it_is(text: bytes) -> None:
    assert training_in_new_words(text) is text


def test_an_image_encoder_that_stood_in_the_request_stands_with_each_image_prompt() -> None:
    """As builds between 15:09 and 22:50 of 26 November 2026 wrote it, beside the base."""
    encoder, key = "e" * 64, f"pending/{'0' * 32}.json"
    pinned = {"name": "reference", "version": 1, "sha256": "1" * 64, "ref": "reference"}
    uses = [pinned | {"kind": "image_prompt", "image_encoder": encoder}, pinned]
    accepted = begun_generation("0" * 32, request(adapters=uses, base="b" * 64), "normal", None)
    old = PENDING.write(accepted).decode().replace(f',"image_encoder":"{encoder}"', "")
    old = old.replace(',"image_encoder":""', "")
    assert old.count(base := f'"base":"{"b" * 64}"') == 1 and "image_encoder" not in old
    assert PENDING.read(key, old.replace(base, f'{base},"image_encoder":"{encoder}"')) == accepted
    assert PENDING.read(key, old.replace(base, f'{base},"image_encoder":""')) == PENDING.read(key, old)
