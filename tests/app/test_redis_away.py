"""Redis is cut off, or says nothing: what was accepted can be looked at, new work is refused, and soon."""

import json
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from redis import Redis

from app.shared.events import publish
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.app.conftest import serving
from tests.app.proxy import Proxy
from tests.app.shared.making import profile

BODY = {"prompt": "a red apple", "seed": 7}
SOON_S = 8.0  # on a busy machine; the aim is 2, and what is not mended takes 20 and more


@pytest.fixture
def client(settings: Settings, storage: Storage, proxy: Proxy) -> Iterator[httpx.Client]:
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    with serving(settings.model_copy(update={"redis_url": type(settings.redis_url)(proxy.url)})) as one:  # type: ignore[misc,arg-type]
        yield one


def soon(call: Callable[[], httpx.Response]) -> httpx.Response:
    began = time.monotonic()
    answer = call()
    assert time.monotonic() - began < SOON_S
    return answer


@pytest.mark.parametrize("broken", [Proxy.cut, Proxy.hush], ids=["cut", "silent"])
def test_what_was_accepted_can_be_seen_and_new_work_is_refused(
    client: httpx.Client, storage: Storage, proxy: Proxy, broken: Callable[[Proxy], None]
) -> None:
    made = [client.post("/v1/generations", json=BODY).json()["id"] for _ in range(5)]
    before = client.get("/v1/generations").json()
    broken(proxy)
    for _ in range(2):
        listed = soon(lambda: client.get("/v1/generations")).json()["generations"]
        assert [one["id"] for one in listed] == made[::-1] == [one["id"] for one in before["generations"]]
        page = soon(lambda: client.get("/v1/generations", params={"limit": 2, "before": made[3]})).json()
        assert [one["id"] for one in page["generations"]] == [made[2], made[1]] and page["next"] == made[1]
        assert soon(lambda: client.get(f"/v1/generations/{made[0]}")).json()["status"] == "queued"
        refused = soon(lambda: client.post("/v1/generations", json=BODY))
        assert (refused.status_code, refused.json()["code"]) == (503, "queue_unavailable")
        assert soon(lambda: client.get("/readyz")).status_code == 503
        assert soon(lambda: client.get("/healthz")).status_code == 200
    assert len(list(storage.keys("pending"))) == 5
    proxy.mend()
    until = time.monotonic() + 60
    while client.post("/v1/generations", json=BODY).status_code != 202:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert len(client.get("/v1/generations").json()["generations"]) == 6


def test_a_listener_hears_the_end_when_redis_is_back(
    client: httpx.Client, redis: Redis, settings: Settings, proxy: Proxy
) -> None:
    made = client.post("/v1/generations", json=BODY).json()["id"]

    def mend() -> None:
        publish(redis, made, "status", {"status": "canceled"}, settings.keep_live_s)
        proxy.mend()

    with client.stream("GET", f"/v1/generations/{made}/events", timeout=60) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: status"
        proxy.cut()
        threading.Timer(2, mend).start()
        told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert told == [{"status": "queued"}, {"status": "canceled"}]
