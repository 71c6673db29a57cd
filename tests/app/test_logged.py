"""What is logged on a whole request: its id, and neither its prompt nor its key."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import structlog

from app.accepting import batches, fast_acceptance
from app.fast_reading import FastReading
from app.middleware.request_ids import HEADER
from app.routes import datasets, trainings
from app.shared.datasets import Datasets
from app.shared.generations import Ledger
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.app.conftest import serving
from tests.app.shared.making import profile

KEY = "rad_0123456789ab_" + "x" * 43
TRAINING = {
    "dataset": f"dataset:{'0' * 64}",
    "name": "mine",
    "algorithm": "lokr",
    "trigger": "zwx-private",
    "default_caption": "a most private pear",
    "samples": [{"prompt": "a hidden apple"}],
}
BODY = {"prompt": "a most private apple", "negative_prompt": "a hidden pear", "seed": 7}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    said, before = io.StringIO(), (logging.root.handlers, logging.root.level)
    monkeypatch.setattr(sys, "stderr", said)
    yield said
    logging.root.handlers, level = before
    logging.root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(params=[False, True])
def client(
    settings: Settings, storage: Storage, lines: io.StringIO, request: pytest.FixtureRequest
) -> Iterator[tuple[httpx.Client, bool]]:
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    with serving(settings.model_copy(update={"log_level": "debug", "log_prompts": request.param})) as one:
        yield one, request.param


def test_a_whole_request_is_logged_with_its_id_and_without_what_is_private(
    client: tuple[httpx.Client, bool], lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    http, with_prompts = client

    def broken(_service: object, body: Any, *_: object) -> None:
        raise RuntimeError(f"nothing is known of {body.model_dump_json()}, sent with {KEY}")

    headers = {"Authorization": f"Bearer {KEY}", HEADER: "from-a-proxy.1"}
    monkeypatch.setattr(fast_acceptance, "resolve", broken)
    answer = http.post("/v1/generations", json=BODY, headers=headers)
    assert (answer.status_code, answer.headers[HEADER]) == (500, "from-a-proxy.1")
    said = lines.getvalue()
    events = [json.loads(line) for line in said.splitlines()]
    assert [one["request_id"] for one in events if one["event"] == "unexpected"] == ["from-a-proxy.1"]
    assert "x" * 43 not in said
    for prompt in (BODY["prompt"], BODY["negative_prompt"]):
        assert (str(prompt) in said) == with_prompts


def test_every_prompt_of_a_batch_and_what_is_looked_for_are_private(
    client: tuple[httpx.Client, bool], lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    http, with_prompts = client

    def broken(*said: Any) -> None:
        raise RuntimeError(f"nothing is known of {said[-1]!r}")

    monkeypatch.setattr(batches, "resolve", broken)
    monkeypatch.setattr(FastReading, "list", broken)
    two = {"requests": [BODY, {"prompt": "a secret plum"}]}
    assert http.post("/v1/generations/batch", json=two, headers={"Connection": "close"}).status_code == 500
    assert http.get("/v1/generations", params={"q": "most private quince"}).status_code == 500
    for prompt in (BODY["prompt"], BODY["negative_prompt"], "most private quince"):
        assert (str(prompt) in lines.getvalue()) == with_prompts, prompt


def test_what_a_training_shows_is_logged_as_little_as_a_prompt(
    client: tuple[httpx.Client, bool], lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    http, with_prompts = client

    def broken(_service: object, body: Any) -> None:
        raise RuntimeError(f"nothing is known of {body.model_dump_json()}")

    monkeypatch.setattr(trainings, "resolve", broken)
    answer = http.post("/v1/trainings", json=TRAINING)
    assert answer.status_code == 500, answer.text
    for text in (TRAINING["trigger"], TRAINING["default_caption"], "a hidden apple"):
        assert (str(text) in lines.getvalue()) == with_prompts


CAPTION = "a most private plum"
REF = f"dataset:{'0' * 64}"


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("POST", "", {"files": {"file": b"x" * 99}, "data": {"default_caption": CAPTION}}),
        ("POST", "", {"json": {"source": "https://192.0.2.1/x.zip", "default_caption": CAPTION}}),
        ("PATCH", f"/{REF}", {"json": {"captions": {f"image:{'0' * 64}": CAPTION}}}),
    ],
    ids=["sent", "fetched", "recaptioned"],
)
def test_captions_of_datasets_are_logged_as_little_as_prompts(
    client: tuple[httpx.Client, bool],
    lines: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    sent: Any,
) -> None:
    http, with_prompts = client

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"nothing is known of what says {CAPTION!r}")

    monkeypatch.setattr(datasets, "judge_size", broken)
    monkeypatch.setattr(datasets, "receiving", SimpleNamespace(fetch=broken))
    monkeypatch.setattr(Datasets, "get", broken)
    assert http.request(method, f"/v1/datasets{path}", **sent).status_code == 500
    said = lines.getvalue()
    assert "nothing is known" in said and (CAPTION in said) == with_prompts


def test_an_id_is_made_where_none_is_given_or_it_cannot_be_one(api: httpx.Client) -> None:
    made = [api.get("/healthz", headers={HEADER: given}).headers[HEADER] for given in ("", "two words", "a" * 129)]
    assert len({*made}) == 3 and all(len(one) == 32 for one in made)
    assert len(api.get("/nowhere").headers[HEADER]) == 32
    assert api.get("/v1/generations", headers={"Host": "elsewhere.test"}).headers[HEADER]


def test_the_id_goes_with_what_is_accepted(api: httpx.Client, settings: Settings, storage: Storage) -> None:
    for key in (None, "again"):
        headers = {HEADER: f"from-{key}"} | ({"Idempotency-Key": key} if key else {})
        made = api.post("/v1/generations", json=BODY, headers=headers).json()["id"]
        accepted = Ledger(storage, None, settings).accepted(made)  # type: ignore[arg-type]
        assert accepted is not None and accepted.request_id == f"from-{key}"
