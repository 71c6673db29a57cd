"""One thread for whatever computes here (on a busy machine two wait for each other); an intake and its uploads."""

from collections.abc import Iterator

import pytest
import torch
from redis import Redis

from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.uploads import Uploads
from tests.app.shared.making import profile
from tests.workers import toy
from workers import intake as module
from workers.intake import Intake


@pytest.fixture(autouse=True)
def _one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def uploads(storage: Storage, redis: Redis, settings: Settings) -> Uploads:
    shapes = {"unet": {"block.to_q.weight": [toy.WIDTH, toy.WIDTH]}}
    Profiles(storage, settings).publish(profile(components=["unet"]), shapes)
    return Uploads(storage, redis, settings)


@pytest.fixture
def intake(
    uploads: Uploads, storage: Storage, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Intake:
    for limit in ("limit_memory", "limit_time"):  # they are for forks: here they would end the tests after it
        monkeypatch.setattr(module, limit, lambda _: None)
    return Intake(storage, redis, settings)
