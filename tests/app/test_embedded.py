"""The server that `radiata up` brings along, run for real."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from app.up import _free_port

ROOT = Path(__file__).parents[2]


@contextmanager
def served(folder: Path, port: int) -> Iterator[Redis]:
    command = [sys.executable, "-m", "app.embedded", os.path.relpath(folder, ROOT), str(port)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        with Redis(port=port) as redis:
            while True:
                try:
                    redis.ping()
                    break
                except RedisConnectionError:
                    assert process.poll() is None, (folder / "valkey.log").read_text()
                    time.sleep(0.05)
            yield redis
    finally:
        process.terminate()
        process.wait(20)


def test_a_folder_of_any_name_keeps_what_it_was_given(tmp_path: Path) -> None:
    folder = tmp_path / 'my "data" #1 ü'
    folder.mkdir()
    with served(folder, _free_port()) as redis:
        redis.set("a", "b")
        assert Path(str(redis.config_get("dir")["dir"])) == folder  # type: ignore[index]  # so that it is found again
    with served(folder, _free_port()) as redis:
        assert redis.get("a") == b"b"
