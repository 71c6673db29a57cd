"""The page below a path: a browser behind a proxy that takes the prefix off, as nginx does, finds all of it."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture
from redis import Redis
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from app.shared.generation_keys import image_key
from app.shared.generations import Ledger
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Image, Status
from tests.app.conftest import serving
from tests.app.http.held import HeldStaging
from tests.app.shared.making import profile, request
from tests.e2e.browser import chromium, complaints, drop
from workers.drawing.encoding import encode

PREFIX = "/draw"
PATIENCE_S = 90


class Proxy:
    """What nginx does with `location /draw/ { proxy_pass http://…/; }`: one request a connection, the prefix off."""

    def __init__(self, port: int) -> None:
        self._there = port
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.outside: list[str] = []
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        open_ones = asyncio.all_tasks() - {asyncio.current_task()}
        for task in open_ones:
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, path, version = (await reader.readline()).decode().split(" ")
        lines = []
        while (line := (await reader.readline()).decode()) != "\r\n":
            if not line.lower().startswith("connection:"):
                lines.append(line)
        if not path.startswith(f"{PREFIX}/"):
            self.outside.append(path)
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._there)
        lines += [f"X-Forwarded-Prefix: {PREFIX}\r\n", "X-Forwarded-Host: draw.example\r\n", "Connection: close\r\n"]
        back.write(f"{method} {path.removeprefix(PREFIX)} {version}{''.join(lines)}\r\n".encode())
        await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer), return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


@pytest.fixture
def proxy(settings: Settings, storage: Storage) -> Iterator[Proxy]:
    """A proxy before an API that believes a model was loaded once."""
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    with serving(settings.model_copy(update={"accept_without_worker_s": -1, "open": True})) as client:
        one = Proxy(client.base_url.port or 80)
        yield one
        one.stop()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    with chromium(tmp_path / "profile") as one:
        yield one


def eventually(true: Callable[[], Any]) -> Any:
    until = time.monotonic() + PATIENCE_S
    while not (found := true()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return found


def test_the_page_works_below_a_path_and_cancels_what_it_uploads(
    proxy: Proxy,
    browser: Chrome,
    storage: Storage,
    redis: Redis,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = Ledger(storage, redis, settings)
    done = ledger.accept(request(prompt="drawn before"))
    data = encode(Picture.new("RGB", (64, 64)), {})
    storage.put(image_key(done.id, 0), data)
    url = f"/v1/images/{done.id}/0.png"
    image = Image(index=0, url=url, seed=7, width=64, height=64, sha256=sha256(data).hexdigest())
    ledger.finish(done.model_copy(update={"status": Status.SUCCEEDED, "images": [image]}))

    browser.get(f"{proxy.url}{PREFIX}/")
    shown = eventually(lambda: browser.find_elements(By.CSS_SELECTOR, "#gallery img[src*='/v1/images/']"))
    eventually(lambda: browser.execute_script("return arguments[0].naturalWidth", shown[0]) == 64)

    browser.find_element(By.ID, "prompt").send_keys("drawn through a proxy")
    browser.find_element(By.ID, "draw").click()
    waiting = eventually(lambda: list(storage.keys("pending")))
    ledger.cancel(waiting[0].split("/")[1].removesuffix(".json"))
    eventually(lambda: "anceled" in browser.find_element(By.ID, "gallery").text)

    def send() -> None:
        drop(browser, {"x.safetensors": bytes([1, 2, 3])})
        browser.find_element(By.CSS_SELECTOR, "#upload button.primary").click()

    def cancel() -> None:
        browser.find_element(By.CSS_SELECTOR, "#upload .actions [data-close]").click()

    send()
    eventually(lambda: len(list(storage.keys("uploads"))) == 2)
    cancel()
    eventually(lambda: not list(storage.keys("uploads")))

    held = HeldStaging(monkeypatch, storage)
    send()
    assert held.begun.wait(PATIENCE_S)
    cancel()  # all of it was sent, and no address has come back
    held.go.set()
    eventually(lambda: held.staged and not list(storage.keys("uploads")))
    assert len(held.staged[0]) == 2

    assert proxy.outside == [], "every address of the page lies below the prefix"
    assert [line for line in complaints(browser) if "favicon" not in line] == []
