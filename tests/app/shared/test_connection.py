"""A Redis that is cut off, or says nothing: who hurries is told soon, who is patient gets through."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty
from structlog.testing import capture_logs

from app.shared.connection import SHUT_S, connect, eviction_policy, redis_url, url_file, warn_of_eviction
from app.shared.settings import BadSettings, Settings
from tests.app.proxy import Proxy

SOON_S = 8.0  # on a busy machine; what is not mended takes 20 and more


@pytest.fixture
def through(settings: Settings, proxy: Proxy) -> Settings:
    return Settings(data_dir=settings.data_dir, redis_url=proxy.url)  # type: ignore[arg-type]


breaks = pytest.mark.parametrize("broken", [Proxy.cut, Proxy.hush], ids=["cut", "silent"])


@breaks
def test_who_hurries_is_told_soon_and_then_at_once(
    through: Settings, proxy: Proxy, broken: Callable[[Proxy], None]
) -> None:
    with connect(through) as redis:
        redis.set("a", 1)
        broken(proxy)
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(RedisError):
                redis.get("a")
        assert time.monotonic() - began < SOON_S
        proxy.mend()
        time.sleep(SHUT_S)
        assert redis.get("a") == b"1"


@breaks
def test_who_is_patient_gets_through(through: Settings, proxy: Proxy, broken: Callable[[Proxy], None]) -> None:
    with connect(through, patient=True) as redis:
        redis.set("a", 1)
        broken(proxy)
        threading.Timer(3, proxy.mend).start()
        assert redis.get("a") == b"1"


@breaks
def test_the_time_limit_of_a_job_stands_while_redis_is_away(
    through: Settings, proxy: Proxy, broken: Callable[[Proxy], None]
) -> None:
    """An outage of twice the limit ends no job, whatever it asks of Redis; what it spends itself still does."""
    with connect(through.model_copy(update={"storage_patience_s": 60}), patient=True) as redis:
        redis.connection_pool.connection_kwargs["socket_timeout"] = 0.5
        with UnixSignalDeathPenalty(2, JobTimeoutException):
            broken(proxy)
            threading.Timer(4, proxy.mend).start()
            redis.set("a", 1)
            assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 2
        assert redis.get("a") == b"1"
        with pytest.raises(JobTimeoutException), UnixSignalDeathPenalty(1, JobTimeoutException):
            redis.get("a")
            time.sleep(30)


def test_a_patience_that_ends_lets_the_time_limit_go_on(through: Settings, proxy: Proxy) -> None:
    proxy.cut()
    one = connect(through.model_copy(update={"storage_patience_s": 1}), patient=True)
    with one as redis, UnixSignalDeathPenalty(60, JobTimeoutException):
        with pytest.raises(RedisError):
            redis.get("a")
        assert 50 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60


def test_where_redis_answers_stands_in_the_data_folder(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)  # type: ignore[call-arg]
    with pytest.raises(BadSettings, match="RADIATA_REDIS_URL"):
        redis_url(settings)
    file = url_file(settings)
    file.parent.mkdir()
    file.write_text("unix:///somewhere\n")
    assert redis_url(settings) == "unix:///somewhere"
    assert redis_url(Settings(data_dir=tmp_path, redis_url="rediss://host")) == "rediss://host"  # type: ignore[arg-type]


def test_a_redis_that_drops_what_it_likes_is_said(redis: Redis) -> None:
    assert eviction_policy(redis) == "noeviction"
    with capture_logs() as lines:
        warn_of_eviction(redis)
    assert not lines
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with capture_logs() as lines:
            warn_of_eviction(redis)
        assert [(line["event"], line["policy"]) for line in lines] == [("redis_evicts", "allkeys-lru")]
    finally:
        redis.config_set("maxmemory-policy", "noeviction")
