"""Who uses the service in a storm: each remembers what it was promised, and every answer that nobody should get."""

import hashlib
import json
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from tests import samples

TIMEOUT_S = 20.0
TRIES = 5
SLOW_S = 3.0
MOST_WAITING = 30  # more teach nothing, and all must be drawn before the laws can be looked at
LET_DRAW_S = 10.0
AWAY = 503
BODIES: tuple[dict[str, Any], ...] = (
    {"prompt": "a red apple", "seed": 7, "steps": 2},
    {"prompt": "a red apple", "seed": 7, "steps": 2, "count": 2},
    {"prompt": "a fox", "seed": 9, "steps": 12},
    {"prompt": "a fox", "seed": 3, "steps": 4, "adapters": [{"ref": "striped-locon", "strength": 0.7}]},
    {"prompt": "a boat", "seed": 4, "steps": 4, "adapters": [{"ref": "fluent-3d-lora"}, {"ref": "striped-lokr:1"}]},
    {"prompt": "a boat", "seed": 4, "steps": 6, "adapters": [{"ref": "fluent-3d-loha"}], "priority": "high"},
)


@dataclass
class Memory:
    """What was promised, and what was wrong; of all clients together."""

    accepted: dict[str, str] = field(default_factory=dict[str, str])  # id: the body that was asked for
    canceled: set[str] = field(default_factory=set[str])
    adapters: dict[str, str] = field(default_factory=dict[str, str])  # name: sha256, of those that were answered 201
    uploads: list[str] = field(default_factory=list[str])  # addresses of those that were answered 202
    wrong: list[str] = field(default_factory=list[str])
    answers: dict[str, int] = field(default_factory=dict[str, int])
    seconds: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    lock: threading.Lock = field(default_factory=threading.Lock)

    began: float = field(default_factory=time.monotonic)
    slow: list[str] = field(default_factory=list[str])

    def tell(self, what: str, answer: str, seconds: float) -> None:
        """Count an answer."""
        if seconds > SLOW_S:
            self.slow.append(f"{time.monotonic() - self.began:6.1f} s  {what} took {seconds:.1f} s: {answer}")
        with self.lock:
            self.answers[f"{what}: {answer}"] = self.answers.get(f"{what}: {answer}", 0) + 1
            self.seconds.setdefault(what, []).append(seconds)


class Client(threading.Thread):
    """Asks one thing after the other until it is told to stop."""

    def __init__(self, url: str, memory: Memory, seed: str, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False)
        self._memory = memory
        self._chance = random.Random(seed)
        self._over = over
        self._uploaded = 0
        self._seed = seed

    def run(self) -> None:
        """Post most of the time; now and then look, cancel and upload."""
        deeds = [self._post] * 6 + [self._look] * 4 + [self._list, self._cancel, self._upload]
        with self._http:
            while not self._over.wait(self._chance.random() / 2):
                try:
                    self._chance.choice(deeds)()
                except (KeyError, TypeError, ValueError) as error:  # an answer of another shape
                    self._memory.wrong.append(f"a client: {type(error).__name__}: {error}")

    def _ask(self, what: str, method: str, path: str, allowed: tuple[int, ...], **more: Any) -> httpx.Response | None:
        """The answer, or None when there was none or the service was away; any other is remembered as wrong."""
        began = time.monotonic()
        try:
            response = self._http.request(method, path, **more)
        except httpx.TransportError as error:
            self._memory.tell(what, type(error).__name__, time.monotonic() - began)
            return None
        self._memory.tell(what, _short(response), time.monotonic() - began)
        if response.status_code in allowed:
            return response
        if response.status_code != AWAY:
            self._memory.wrong.append(f"{what} was answered {response.status_code}: {response.text[:300]}")
        return None

    def _post(self) -> None:
        body = self._chance.choice(BODIES)
        headers = {"Idempotency-Key": uuid4().hex}
        ids: set[str] = set()
        for _ in range(TRIES):
            if response := self._ask("post", "POST", "/v1/generations", (202,), json=body, headers=headers):
                generation_id = response.json()["id"]
                ids.add(generation_id)
                self._memory.accepted[generation_id] = json.dumps(body, sort_keys=True)
                if (response.json()["queue_position"] or 0) > MOST_WAITING:
                    self._over.wait(LET_DRAW_S)
                if self._chance.random() < 0.8:  # else asked once more with the same key
                    break
        if len(ids) > 1:
            self._memory.wrong.append(f"one key, several generations: {ids}")

    def _one(self) -> str | None:
        known = list(self._memory.accepted)
        return self._chance.choice(known[-50:]) if known else None

    def _look(self) -> None:
        if (one := self._one()) and (found := self._ask("look", "GET", f"/v1/generations/{one}", (200,))):
            for image in found.json()["images"][:1]:
                if got := self._ask("image", "GET", image["url"], (200,)):
                    digest = hashlib.sha256(got.content).hexdigest()
                    if digest != image["sha256"]:
                        self._memory.wrong.append(f"{image['url']} is not what its record says")

    def _list(self) -> None:
        self._ask("list", "GET", "/v1/generations", (200,), params={"limit": 20})
        self._ask("adapters", "GET", "/v1/adapters", (200,))

    def _cancel(self) -> None:
        if one := self._one():
            self._memory.canceled.add(one)
            self._ask("cancel", "POST", f"/v1/generations/{one}/cancel", (200, 409))

    def _upload(self) -> None:
        self._uploaded += 1
        name = f"storm-{self._seed.replace(' ', '-')}-{self._uploaded}"
        data = samples.file(self._chance.choice(list(samples.KINDS)), self._chance.randrange(1 << 30))
        files = {"file": ("file.safetensors", data)}
        if response := self._ask("upload", "POST", "/v1/adapters", (200, 201, 202), files=files, data={"name": name}):
            if response.status_code == httpx.codes.ACCEPTED:
                self._memory.uploads.append(response.headers["Location"])
            else:
                self._memory.adapters[name] = hashlib.sha256(data).hexdigest()


def _short(response: httpx.Response) -> str:
    code = response.json().get("code", "") if response.is_error else ""
    return f"{response.status_code} {code}".strip()
