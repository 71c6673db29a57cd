"""Addresses are read as people type them, written so that they can be opened, and judged by where they lead."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.http.address import listen, url_of
from app.shared.keys import Keyring
from app.shared.settings import BadSettings, Settings
from app.shared.storage import Storage
from radiata_client.address import is_here, read_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("localhost:8000", "http://localhost:8000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("localhost", "http://localhost"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("::1", "http://[::1]"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
        ("https://pictures.example/radiata/", "https://pictures.example/radiata"),
        (" http://host:1 ", "http://host:1"),
    ],
)
def test_an_address_is_read_as_it_is_typed(text: str, url: str) -> None:
    assert read_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "http://::1:8000",
        "::1:8000:x",
        "ftp://host",
        "host:port",
        "host:99999",
        "a b",
        "http://[::1",
        "://x",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        read_url(text)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("::1", "http://[::1]:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("name", "http://name:1"),
    ],
)
def test_what_is_written_can_be_opened(host: str, url: str) -> None:
    assert url_of(host, 1) == url
    assert read_url(url) == url


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"])
def test_loopback_is_here(host: str) -> None:
    assert is_here(f"http://{host}:8000")


@pytest.mark.parametrize("host", ["example.org", "10.0.0.1", "localhost.example", "[2001:db8::1]"])
def test_the_rest_is_not(host: str) -> None:
    assert not is_here(f"http://{host}:8000")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "localhost"])
def test_a_loopback_host_is_listened_on_and_reached(host: str) -> None:
    try:
        sockets = listen(Settings(host=host, port=0))  # type: ignore[call-arg]
    except BadSettings:
        assert ":" in host and not socket.has_dualstack_ipv6(), "only IPv6 may be missing"
        pytest.skip("no IPv6 here")
    ports = {one.getsockname()[1] for one in sockets}
    assert len(ports) == 1
    parts = urlsplit(url_of(host.strip("[]"), ports.pop()))
    socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=5).close()
    for one in sockets:
        one.close()


def test_a_name_is_judged_by_where_it_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, 0, 0, "", (address, 0)) for address in ("127.0.0.1", "192.0.2.1")]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    with pytest.raises(BadSettings, match="RADIATA_OPEN=1"):
        listen(Settings(host="looks-local", port=0))  # type: ignore[call-arg]


def test_a_key_opens_it_to_others_and_a_proxy_needs_one(tmp_path: Path) -> None:
    given = {"data_dir": tmp_path, "port": 0}
    reached = [Settings(host="0.0.0.0", **given), Settings(trusted_proxies=("10.0.0.7/32",), **given)]  # type: ignore[arg-type]
    for settings in reached:
        with pytest.raises(BadSettings, match="radiata keys add"):
            listen(settings)
    Keyring(Storage(reached[0].store_url)).add(["draw"])
    for settings in reached:
        for one in listen(settings):
            one.close()


def test_all_addresses_may_be_listened_on_with_leave() -> None:
    for one in listen(Settings(host="0.0.0.0", port=0, open=True)):  # type: ignore[call-arg]
        one.close()
