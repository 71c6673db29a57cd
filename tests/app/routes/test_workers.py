"""Who draws, and what they hold, as the API tells it."""

import json
from datetime import UTC, datetime

import httpx
from redis import Redis

from app.shared.worker_state import WorkerState, publish
from tests.app.shared.making import MODEL

ACTIVE, RESIDENT = "a" * 64, "b" * 64


def said(name: str, model: str = MODEL) -> WorkerState:
    return WorkerState(
        name=name,
        model=model,
        host="here",
        state="busy",
        active=[ACTIVE],
        resident=[ACTIVE, RESIDENT],
        since=datetime.now(UTC),
    )


def test_workers_are_listed_by_model_while_they_are_heard(api: httpx.Client, redis: Redis) -> None:
    assert api.get("/v1/workers").json() == {"workers": []}
    for name, model in (("w2", "z"), ("w1", "z"), ("w3", MODEL)):
        publish(redis, said(name, model), 60)
        redis.sadd("rq:workers", f"rq:worker:{name}")
    redis.sadd("rq:workers", "rq:worker:silent")
    workers = api.get("/v1/workers").json()["workers"]
    assert [(one["model"], one["name"]) for one in workers] == [(MODEL, "w3"), ("z", "w1"), ("z", "w2")]
    assert workers[0] | {"since": ""} == {
        "name": "w3",
        "model": MODEL,
        "base": "",
        "preprocessors": {},
        "host": "here",
        "state": "busy",
        "active": [ACTIVE],
        "resident": [ACTIVE, RESIDENT],
        "since": "",
    }


def test_a_worker_of_a_newer_version_is_told_of_too(api: httpx.Client, redis: Redis) -> None:
    publish(redis, said("w1"), 60)
    redis.sadd("rq:workers", "rq:worker:w1")
    redis.set("radiata:worker:w1", json.dumps(said("w1").model_dump(mode="json") | {"new": 1}))
    (one,) = api.get("/v1/workers").json()["workers"]
    assert one["name"] == "w1" and "new" not in one
