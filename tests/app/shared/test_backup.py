"""A copy that is made while the service runs, in the order that README says, is a store in which nothing is missing."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from app.outgoing.gathering import TASK, Gathering
from app.shared.generation_keys import image_key
from app.shared.generations import Ledger
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.sweep import Sweep
from app.shared.wire.generation import Generation, Image, Status
from tests.app.shared.making import request

PASSES: list[Callable[[str], bool]] = [  # as README has them: every record is written after what it names
    lambda key: key.startswith("pending/"),
    lambda key: key.endswith(".json"),
    lambda key: not key.endswith(".json"),
]


def copied(storage: Storage, copy: Storage, happens: Callable[[], None]) -> None:
    """Copy object by object, as rsync and rclone do, while things happen."""
    for wanted in PASSES:
        for key in sorted(filter(wanted, storage.keys(""))):
            happens()
            if (data := storage.get(key)) is not None:  # else deleted since it was listed
                copy.put(key, data)


def finish(ledger: Ledger, storage: Storage, one: Generation) -> None:
    storage.put(image_key(one.id, 0), b"\x89PNG")
    image = Image(index=0, url=f"/v1/images/{one.id}/0.png", seed=7, width=64, height=64, sha256="a" * 64)
    ledger.finish(one.model_copy(update={"status": Status.SUCCEEDED, "images": [image]}))


@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_was_copied_is_lost(redis: Redis, settings: Settings, tmp_path: Path, seed: int) -> None:
    storage, copy, chance = Storage("memory:///"), Storage("memory:///"), random.Random(seed)
    ledger, waiting = Ledger(storage, redis, settings), list[Generation]()

    def happens() -> None:
        act = chance.random()
        if act < 0.2:
            waiting.append(ledger.accept(request()))
        elif act < 0.5 and waiting:
            finish(ledger, storage, waiting.pop(chance.randrange(len(waiting))))
        elif act < 0.53:
            Gathering(ledger, lines=3).run(TASK, lambda: None)

    for _ in range(30):
        happens()
    before = {one.id for one in ledger.list(200, None)[0]}
    copied(storage, copy, happens)
    redis.flushall()
    restored = Ledger(copy, redis, settings.model_copy(update={"data_dir": tmp_path / "restored"}))
    Sweep(copy, redis, settings).run()
    Gathering(restored, lines=3).run(TASK, lambda: None)
    found, cursor = [], None
    while True:
        page, cursor = restored.list(7, cursor)
        found += page
        if cursor is None:
            break
    assert before <= {one.id for one in found}, "what was accepted before the copy began is in it"
    for one in found:
        assert one.status is Status.SUCCEEDED or restored.queues.job(one.id) is not None, "ended, or taken up again"
        for image in one.images:
            assert copy.exists(image_key(one.id, image.index)), "no picture is missing under a record that lists it"
