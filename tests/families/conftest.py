"""One family after the other, each built and loaded once, over a Valkey and a store of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from app.shared.connection import connect
from app.shared.settings import Settings
from tests.families.registry import FAMILIES
from tests.families.serving import Diffusers, Served

# Of each way to draw one, for the gate; the whole table by `--every`
IN_THE_GATE = ("sd-1.5", "flux.1-dev")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test of the suite over the families that are asked for."""
    if "family" in metafunc.fixturenames:
        names = [*FAMILIES] if metafunc.config.getoption("every") else [*IN_THE_GATE]
        metafunc.parametrize("family", names, ids=names, scope="module", indirect=True)


@pytest.fixture(scope="module")
def family(request: pytest.FixtureRequest) -> str:
    """Name of the family at hand."""
    return request.param


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder."""
    path = tmp_path_factory.mktemp("family") / family
    FAMILIES[family].build(path)
    return path


@pytest.fixture(scope="module")
def served(
    family: str, folder: Path, _valkey_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """It, as the service serves it."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("store"),
        redis_url=_valkey_server,
        models={family: str(folder)},
        model=family,
        threads=1,
        accept_without_worker_s=-1,
        max_prompt_chars=100_000,
    )
    with connect(settings) as redis:
        redis.flushall()
        yield Served(FAMILIES[family], folder, settings, redis)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(scope="module")
def diffusers(family: str, folder: Path) -> Diffusers:
    """It, as diffusers opens and calls it."""
    return Diffusers(FAMILIES[family], folder)
