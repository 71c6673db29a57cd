"""Whichever way a request comes in, the hook is asked before it is accepted, and nothing of what it refuses is kept."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from PIL import Image
from redis import Redis

from app.shared.datasets import Datasets, dataset_of
from app.shared.pictures import Pictures
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.dataset import DatasetPicture, DatasetReport
from tests.app.conftest import serving
from tests.app.shared import hooks
from tests.app.shared.making import profile

FUNCTION = {"moderation": "tests.app.shared.hooks:judge", "accept_without_worker_s": -1}


@pytest.fixture
def asked(storage: Storage, settings: Settings) -> Iterator[httpx.Client]:
    hooks.ASKED.clear()
    hooks.AWAY.clear()
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    with serving(settings.model_copy(update=FUNCTION)) as client:
        yield client


def dataset(storage: Storage, caption: str) -> str:
    pictures = [Pictures(storage).put(Image.new("RGB", (64, 64), (at, 0, 0)), "").ref for at in range(2)]
    entries = [DatasetPicture(ref=ref, caption=caption, width=64, height=64) for ref in pictures]
    return Datasets(storage).keep(dataset_of(entries, DatasetReport(), datetime.now(UTC)))[0].ref


def ways(storage: Storage, word: str) -> list[tuple[str, dict[str, Any]]]:
    """Every way to ask for something that is said of: path, and body."""
    one = {"prompt": f"a {word}"}
    training = {"name": "style", "algorithm": "lokr"}
    return [
        ("/v1/generations", one),
        ("/v1/generations", {"prompt": "an apple", "negative_prompt": word}),
        ("/v1/generations", {"prompt": "an apple", "metadata": {"of": word}}),
        ("/v1/generations/batch", {"requests": [{"prompt": "an apple"}, one]}),
        ("/openai/v1/images/generations", one),
        ("/v1/trainings", training | {"dataset": dataset(storage, f"a {word}")}),
        ("/v1/trainings", training | {"dataset": dataset(storage, "an apple"), "trigger": word}),
    ]


def test_what_it_refuses_is_answered_with_its_sentence_and_not_kept(
    asked: httpx.Client, storage: Storage, redis: Redis
) -> None:
    for path, body in ways(storage, "pear"):
        answer = asked.post(path, json=body)
        assert answer.status_code in (400, 422), (path, answer.text)
        problem = answer.json().get("error") or answer.json()
        assert problem["code"] == "moderated" and hooks.NO in (problem.get("detail") or problem["message"]), path
    assert not [*storage.keys("pending"), *storage.keys("to-train")]
    answer = asked.post("/v1/generations/batch", json={"requests": [{"prompt": "an apple"}, {"prompt": "a pear"}]})
    assert [one["pointer"] for one in answer.json()["errors"]] == ["#/requests/1"] or answer.json()["errors"]


def test_where_it_is_away_nothing_is_accepted_unless_that_is_set(
    asked: httpx.Client, storage: Storage, settings: Settings
) -> None:
    for path, body in ways(storage, "storm"):
        answer = asked.post(path, json=body)
        assert answer.status_code == 503 and "moderation" in answer.text, (path, answer.text)
    assert not [*storage.keys("pending"), *storage.keys("to-train")]
    with serving(settings.model_copy(update=FUNCTION | {"moderation_down": "allow"})) as client:
        assert client.post("/v1/generations", json={"prompt": "a storm"}).status_code == 202


def test_while_it_is_slow_others_are_answered(asked: httpx.Client) -> None:
    batch = {"requests": [{"prompt": "a slow one", "seed": at} for at in range(50)]}
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(asked.post, "/v1/generations/batch", json=batch)
        while len(hooks.ASKED) < 32:
            time.sleep(0.01)
        begun = time.perf_counter()
        assert asked.get("/v1/usage").status_code == 200
        assert time.perf_counter() - begun < 1
        assert slow.result().status_code == 202


def test_it_is_asked_once_and_told_what_was_asked_for_and_by_whom(asked: httpx.Client) -> None:
    body = {"prompt": "an apple", "negative_prompt": "blurred", "metadata": {"of": "mine"}, "seed": 7}
    key = {"Idempotency-Key": "once"}
    for _ in range(2):
        assert asked.post("/v1/generations", json=body, headers=key).status_code == 202
    (told,) = hooks.ASKED
    assert (told["type"], told["owner"]) == ("request", "first") and "webhook" not in told["request"]
    assert {name: told["request"][name] for name in body} == body
    batch = {"requests": [{"prompt": "an apple"}, {"prompt": "a plum"}]}
    assert asked.post("/v1/generations/batch", json=batch).status_code == 202
    assert len(hooks.ASKED) == 3
