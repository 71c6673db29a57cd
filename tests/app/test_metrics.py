"""The service's figures: what is counted, labels that stay few, and a dashboard and rules that name what there is."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from app.metrics import HELP_OF_TIERS, STATUSES, TIERS
from app.shared.errors import Unavailable
from app.shared.metrics import FITS, KEY, count, of_choice, tally
from app.shared.settings import Settings
from app.shared.storage import Storage

WATCH = Path(__file__).parents[2] / "docker" / "watch"
SERIES = re.compile(r"\b(?:radiata_\w+|up)\b(?:\{([^}]*)\})?")


def figures(api: httpx.Client) -> dict[str, Metric]:
    answer = api.get("/metrics")
    assert answer.status_code == 200, answer.text
    return {one.name: one for one in text_string_to_metric_families(answer.text)}


def value(found: dict[str, Metric], name: str, **labels: str) -> float:
    (one,) = [sample.value for sample in found[name].samples if sample.labels == labels]
    return one


def test_what_waits_fails_and_is_refused_is_counted(
    api: httpx.Client, settings: Settings, redis: Redis, tmp_path: Path
) -> None:
    before = figures(api)
    assert api.post("/v1/generations", json={"prompt": "a red apple"}).status_code == 202
    assert api.get("/v1/generations/none").status_code == 404
    (settings.data_dir / "store" / "doctor").write_bytes(b"a file where a folder should be")
    with pytest.raises(Unavailable):
        Storage(settings.store_url).put("doctor/a", b"")
    count(redis, {of_choice("same"): 2})
    found = figures(api)
    queue = f"generate.{settings.model}"
    assert value(found, "radiata_jobs_waiting", queue=queue) == 1
    assert 0 < value(found, "radiata_queue_age_seconds", queue=queue) < 300
    assert value(found, "radiata_queue_age_seconds", queue="intake") == 0
    refused = [value(one, "radiata_requests_refused", status="404") for one in (before, found)]
    assert refused[1] - refused[0] == 1  # what the process refused in other tests is told here too
    assert value(found, "radiata_storage_errors") - value(before, "radiata_storage_errors") == 1
    chosen = [value(one, "radiata_affinity_choices", fit="same") for one in (before, found)]
    assert chosen[1] - chosen[0] == 2  # as with what was refused
    assert value(found, "radiata_model_ready", model=settings.model) == 0  # nobody draws
    assert value(found, "radiata_storage_up") == 1


def test_labels_stay_as_few_whatever_stands_in_redis(api: httpx.Client, settings: Settings, redis: Redis) -> None:
    def labels() -> set[tuple[str, ...]]:
        return {(one.name, *map(str, sample.labels.items())) for one in figures(api).values() for sample in one.samples}

    most = len(TIERS) * len(HELP_OF_TIERS) + len(FITS) + len(STATUSES) + len(settings.models) + 2 * 9 + 20
    for at in range(50):
        for queue in (f"generate.m{at}@{at}", f"generate.emoji-64:p{at}", f"train.m{at}"):
            redis.sadd("rq:queues", f"rq:queue:{queue}")
            redis.rpush(f"rq:queue:{queue}", "x")
        redis.hset(KEY, mapping={f"adapter_tier_hits:{at}": 1, f"requests_refused:{at}": 1, f"radiata_{at}": 1})
        api.get(f"/nowhere/{at}")
    redis.hset(KEY, "images", "many")
    redis.set("rq:queue:intake", "no list")
    assert len(labels()) <= most
    found = figures(api)
    assert value(found, "radiata_jobs_waiting", queue="generate.others") == 100
    assert value(found, "radiata_jobs_waiting", queue="train.others") == 50


def test_a_tally_waits_for_redis(redis: Redis) -> None:
    class Away:
        def pipeline(self) -> Redis:
            raise RedisConnectionError

    count(redis, {})
    before = float(redis.hget(KEY, "tried") or 0)  # type: ignore[arg-type]
    tally("tried")
    with pytest.raises(RedisConnectionError):
        count(Away(), {"lost": 1})  # type: ignore[arg-type]
    count(redis, {})
    assert float(redis.hget(KEY, "tried") or 0) - before == 1  # type: ignore[arg-type]


def expressions() -> Iterator[str]:
    for board in (WATCH / "dashboards").glob("*.json"):
        for panel in json.loads(board.read_text())["panels"]:
            yield from (target["expr"] for target in panel["targets"])
    rules: dict[str, Any] = yaml.safe_load((WATCH / "rules.yml").read_text())
    for rule in rules["groups"][0]["rules"]:
        assert rule["annotations"].keys() == {"summary", "action"}
        yield rule["expr"]


def test_dashboard_and_rules_name_figures_that_there_are(api: httpx.Client) -> None:
    samples = [sample for one in figures(api).values() for sample in one.samples]
    there = {sample.name: set(sample.labels) for sample in samples} | {"up": {"job"}}
    named = set[str]()
    for expression in expressions():
        for series in SERIES.finditer(expression):
            name = series.group().partition("{")[0]
            assert name in there, f"{name} of {expression!r} is no figure"
            used = set(re.findall(r"(\w+)\s*[=!]", series[1] or ""))
            assert used <= there[name], f"{name} has no label {used - there[name]}"
            named.add(name)
    assert {name for name in there if name not in named} <= {"radiata_prefetch_loads_total"}, "the dashboard lacks some"


def test_legends_name_labels_that_there_are(api: httpx.Client) -> None:
    labels = {label for one in figures(api).values() for sample in one.samples for label in sample.labels}
    text = "".join(file.read_text() for file in (WATCH / "dashboards").glob("*.json"))
    assert set(re.findall(r"\{\{(\w+)\}\}", text)) <= labels
