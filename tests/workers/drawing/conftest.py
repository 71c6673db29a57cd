"""An engine over the toy base, and the ledger that hands it generations."""

from collections.abc import Iterator

import pytest
import torch
from redis import Redis

from app.shared.generations import Ledger
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.workers import toy
from workers.drawing.engine import Engine


@pytest.fixture
def base() -> toy.LoadedModel:
    return toy.base()


@pytest.fixture
def engine(base: toy.LoadedModel, storage: Storage, redis: Redis, settings: Settings) -> Iterator[Engine]:
    deterministic = torch.are_deterministic_algorithms_enabled()
    yield Engine(base, storage, redis, settings)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)
