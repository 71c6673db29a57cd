"""Two services with stores of their own on one Redis: the second does not start, whichever of its commands it is."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis

from app.shared.errors import Unreadable
from app.shared.identity import CLAIM, KEY, claim, store_id
from app.shared.settings import BadSettings, Settings
from app.shared.storage import Storage

ROOT = Path(__file__).parents[3]


def other_store(tmp_path: Path) -> Storage:
    return Storage((tmp_path / "other").as_uri())


def test_a_store_has_one_id_whoever_asks_first(storage: Storage) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: store_id(storage), range(8)))) == 1


def test_a_store_whose_id_is_spoilt_says_so(storage: Storage) -> None:
    for spoilt in (b"", b"{}", b"[]", b'{"id": 7}', b'{"id": "x"}'):
        storage.put(KEY, spoilt)
        with pytest.raises(Unreadable, match=KEY):
            store_id(storage)


def test_work_goes_on_in_a_store_whose_id_is_spoilt(storage: Storage, redis: Redis) -> None:
    """The sweep claims before all else: one record must not end it."""
    claim(storage, redis)
    before = redis.get(CLAIM)
    storage.put(KEY, b"")
    claim(storage, redis)
    assert redis.get(CLAIM) == before


def test_the_first_has_it_and_has_it_again_when_it_was_emptied(storage: Storage, redis: Redis, tmp_path: Path) -> None:
    other = other_store(tmp_path)
    for _ in range(2):
        claim(storage, redis)
        with pytest.raises(BadSettings, match="another store"):
            claim(other, redis)
        redis.flushall()
    claim(other, redis)
    with pytest.raises(BadSettings):
        claim(storage, redis)


@pytest.mark.parametrize("nonsense", [b"\xff", b"", b"0" * 31])
def test_a_claim_that_no_store_can_have_made_is_none(storage: Storage, redis: Redis, nonsense: bytes) -> None:
    redis.set(CLAIM, nonsense)
    claim(storage, redis)
    redis.delete(CLAIM)
    redis.lpush(CLAIM, nonsense)
    claim(storage, redis)
    assert redis.get(CLAIM) == store_id(storage).encode()


@pytest.mark.parametrize("command", ["app.cli up", "app.cli api", "workers generate", "workers intake"])
def test_the_second_does_not_start(
    storage: Storage, redis: Redis, settings: Settings, tmp_path: Path, command: str
) -> None:
    claim(storage, redis)
    assert settings.redis_url is not None
    environment = {
        **os.environ,
        "RADIATA_REDIS_URL": settings.redis_url.get_secret_value(),
        "RADIATA_DATA_DIR": str(tmp_path / "second"),
        "RADIATA_PORT": "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert "another store" in done.stderr and "Traceback" not in done.stderr
