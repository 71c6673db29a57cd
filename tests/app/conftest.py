"""The API alone, over a real Valkey and a folder: what it says when nobody draws."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
import uvicorn

from app.commands import terminal
from app.http.server import Server
from app.main import create_app
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.app.proxy import Proxy
from tests.app.shared.making import profile


@pytest.fixture
def api(settings: Settings, storage: Storage) -> Iterator[httpx.Client]:
    """An HTTP client on an API that believes a model was loaded once."""
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    with serving(settings) as client:
        yield client


@contextmanager
def serving(settings: Settings, **tls: str) -> Iterator[httpx.Client]:
    """An HTTP client on an API with these settings, in a thread; tls: `ssl_certfile`, for HTTPS."""
    app = create_app(settings)
    config = uvicorn.Config(app, port=0, log_config=None, proxy_headers=False, **tls)  # type: ignore[arg-type]
    server = Server(config, app)
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"{'https' if tls else 'http'}://127.0.0.1:{port}", timeout=20) as client:
        yield client
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """What makes commands of the command line talk to something that answers like a client."""

    def use(client: Any) -> None:
        monkeypatch.setattr(terminal, "connected", lambda _: nullcontext(client))

    return use


@pytest.fixture
def proxy(valkey: str) -> Iterator[Proxy]:
    """What stands before Valkey, and can break."""
    one = Proxy(valkey)
    yield one
    one.cut()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of this process."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the records that were logged as unreadable."""
    keys: list[str] = []

    class Log:
        def error(self, _event: str, *, key: str, error: str) -> None:
            keys.append(key)

    monkeypatch.setattr("app.shared.records.log", Log())
    return keys
