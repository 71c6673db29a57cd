"""What must hold when the storm is over."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx

from app.shared.storage import Storage
from tests.storm.clients import Memory
from tests.storm.scene import Scene

ENDS = ("succeeded", "failed", "canceled")
EACH_S = 5.0  # what one generation may take at most once the service is calm
SETTLE_S = 180.0


def broken(scene: Scene, memory: Memory) -> list[str]:
    """Everything that breaks a law, a sentence each; waits for what was accepted to end."""
    with httpx.Client(base_url=scene.url, timeout=60, trust_env=False) as http:
        ended, waiting = _ended(http, memory)
        return [
            *memory.wrong,
            *(f"{one} never ended: {json.dumps(generation)}" for one, generation in waiting.items()),
            *_ends(ended, memory),
            *_bytes(http, ended, memory),
            *_listed(http, memory),
            *_adapters(http, memory),
            *_records(scene.storage()),
            *_log(scene.supervisor.log),
        ]


def _ended(http: httpx.Client, memory: Memory) -> tuple[dict[str, Any], dict[str, Any]]:
    until = time.monotonic() + SETTLE_S + EACH_S * len(memory.accepted)
    ended: dict[str, Any] = {}
    waiting: dict[str, Any] = dict.fromkeys(memory.accepted)
    while waiting and time.monotonic() < until:
        for one in list(waiting):
            response = http.get(f"/v1/generations/{one}")
            waiting[one] = response.json()
            if response.is_success and waiting[one]["status"] in ENDS:
                ended[one] = waiting.pop(one)
        time.sleep(0.5)
    return ended, waiting


def _ends(ended: dict[str, Any], memory: Memory) -> Iterator[str]:
    for one, generation in ended.items():
        if generation["status"] == "failed":
            yield f"{one} failed for what was away: {generation['error']}"
        elif generation["status"] == "canceled" and one not in memory.canceled:
            yield f"{one} was canceled by nobody"


def _bytes(http: httpx.Client, ended: dict[str, Any], memory: Memory) -> Iterator[str]:
    drawn: dict[str, dict[str, str]] = {}
    for one, generation in ended.items():
        if generation["status"] != "succeeded":
            continue
        body = memory.accepted[one]
        if len(generation["images"]) != json.loads(body).get("count", 1):
            yield f"{one} has {len(generation['images'])} pictures"
        for image in generation["images"]:
            if hashlib.sha256(http.get(image["url"]).content).hexdigest() != image["sha256"]:
                yield f"{image['url']} is not what its record says"
            drawn.setdefault(f"{body} {image['index']}", {})[image["sha256"]] = one
    yield from (f"several pictures of one request {body}: {by}" for body, by in drawn.items() if len(by) > 1)


def _listed(http: httpx.Client, memory: Memory) -> Iterator[str]:
    seen: Counter[str] = Counter()
    before: dict[str, str] = {}
    while True:
        page = http.get("/v1/generations", params={"limit": 100, **before}).json()
        seen.update(one["id"] for one in page["generations"])
        if page["next"] is None:
            break
        before = {"before": page["next"]}
    if lost := memory.accepted.keys() - seen.keys():
        yield f"the list lacks {len(lost)} of {len(memory.accepted)}: {sorted(lost)[:3]}"
    if twice := [one for one, count in seen.items() if count > 1]:
        yield f"the list has some twice: {twice[:3]}"


def _adapters(http: httpx.Client, memory: Memory) -> Iterator[str]:
    for name, sha256 in memory.adapters.items():
        response = http.get(f"/v1/adapters/{name}")
        if not response.is_success or response.json()["sha256"] != sha256:
            yield f"adapter {name} is gone: {response.status_code} {response.text[:200]}"
        elif hashlib.sha256(http.get(f"/v1/adapters/{name}/file").content).hexdigest() != sha256:
            yield f"the file of adapter {name} is another"
    for where in memory.uploads:
        until = time.monotonic() + SETTLE_S
        while (response := http.get(where)).status_code == httpx.codes.ACCEPTED and time.monotonic() < until:
            time.sleep(0.5)
        if response.status_code not in (200, 201):
            yield f"an accepted upload ended with {response.status_code}: {response.text[:300]}"


def _records(storage: Storage) -> Iterator[str]:
    for folder in ("pending", "generations", "names", "adapters", "uploads", "settled", "models"):
        for key in storage.keys(folder):
            if not key.endswith(".json"):
                continue
            try:
                json.loads(storage.get(key) or b"")
            except ValueError as error:
                yield f"{key} cannot be read: {error}"
            if folder == "pending":
                yield f"{key} is still there"


def _log(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if "Traceback" in line:
            yield f"a traceback in the log: {line[:200]} … {line[-1500:]}"
