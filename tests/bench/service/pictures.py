"""Pictures per second out of a full queue, and how long a picture takes when requests come as they come."""

import random
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from app.commands.client import Client
from app.supervisor import Service

LOOK_S = 0.25
AT_ONCE = 64


class Failed(Exception):
    """A generation did not succeed; the message says how it ended."""


@dataclass(frozen=True)
class Drained:
    """A queue that was filled at once and drawn to its end."""

    per_second: float
    timings: list[dict[str, float]]  # of every picture, milliseconds


def drain(service: Service, bodies: Sequence[dict[str, Any]]) -> Drained:
    """POST all, wait until all are drawn; the time is from the first acceptance to the last end, by the service."""
    with httpx.Client(base_url=service.url, timeout=60) as http:
        accepted = [http.post("/v1/generations", json=body).raise_for_status().json()["id"] for body in bodies]
        waiting = set(accepted)
        while waiting:
            time.sleep(LOOK_S)
            newest = http.get("/v1/generations", params={"limit": 200}).raise_for_status().json()["generations"]
            waiting -= {one["id"] for one in newest if one["status"] in ("succeeded", "failed", "canceled")}
        ended = [http.get(f"/v1/generations/{one}").raise_for_status().json() for one in accepted]
    _all_succeeded(ended)
    began = min(datetime.fromisoformat(one["created_at"]) for one in ended)
    seconds = (max(datetime.fromisoformat(one["finished_at"]) for one in ended) - began).total_seconds()
    return Drained(len(bodies) / seconds, [one["timings_ms"] for one in ended])


def arrive(service: Service, bodies: Sequence[dict[str, Any]], per_second: float, seed: int) -> list[float]:
    """Milliseconds from POST to the picture's bytes, for requests that arrive independently of each other (Poisson)."""
    source = random.Random(seed)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = []
        due = time.perf_counter()
        for body in bodies:
            due += source.expovariate(per_second)
            time.sleep(max(0.0, due - time.perf_counter()))
            asked.append(pool.submit(_draw, service.url, body))
        return [one.result() for one in asked]


def _draw(url: str, body: dict[str, Any]) -> float:
    began = time.perf_counter()
    with Client(url) as client:
        generation = client.generate(body)
        _all_succeeded([generation])
        client.image(generation["images"][0]["url"])
    return 1000 * (time.perf_counter() - began)


def _all_succeeded(generations: Sequence[dict[str, Any]]) -> None:
    for one in generations:
        if one["status"] != "succeeded":
            raise Failed(f"a generation ended as {one['status']}: {one['error']}")


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many of a hundred lie below."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
