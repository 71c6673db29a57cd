"""A name nobody gave the service is refused, an address and a loopback name never is, what is no host never passes."""

import http.client
import random
import socket

import httpx
import pytest

from app.middleware.hosts import LOOPBACK, OPEN, host_of, is_known

ADDRESSES = ("127.0.0.1", "127.0.0.1:8000", "192.168.1.5", "10.0.0.1:80", "[::1]", "[::1]:8000", "[fe80::1]")
NAMES = ("localhost", "LOCALHOST:8000", "a.localhost", "localhost.", "ip6-localhost", "localhost6:1")
STRANGERS = (
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "1.2.3",
    "0x7f.1",
    "xlocalhost",
    "radiata",
)
MALFORMED = (
    *("", " ", "a b", "a@b", "localhost:x", "localhost:", "localhost:99999", "http://localhost", "localhost/", "a..b"),
    *("[::1", "::1", "[evil.example]", "[::1]x", "local\xadhost", "localhost,evil.example", "-", ".localhost", "[:]"),
)


@pytest.mark.parametrize("host", [*ADDRESSES, *NAMES])
def test_an_address_or_a_loopback_name_passes(api: httpx.Client, host: str) -> None:
    assert api.get("/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", STRANGERS)
def test_another_name_is_a_421_and_probes_may_use_it(api: httpx.Client, host: str) -> None:
    for method, path in [("GET", "/v1/models"), ("GET", "/"), ("DELETE", "/v1/adapters/a"), ("GET", "/nowhere")]:
        answer = api.request(method, path, headers={"Host": host})
        assert (answer.status_code, answer.json()["code"]) == (421, "unknown_host")
    for path in OPEN:
        assert api.get(path, headers={"Host": host}).status_code != 421


def test_a_name_that_was_forwarded_makes_no_other_name_known(api: httpx.Client) -> None:
    headers = {"Host": "evil.example", "X-Forwarded-Host": "localhost"}
    assert api.get("/v1/models", headers=headers).status_code == 421


@pytest.mark.parametrize("host", MALFORMED)
def test_what_is_no_host_is_none(host: str) -> None:
    assert host_of(host) is None


@pytest.mark.parametrize("hosts", [[], ["localhost", "localhost"], ["localhost", "evil.example"]])
def test_a_request_names_one_host(api: httpx.Client, hosts: list[str]) -> None:
    lines = "".join(f"Host: {host}\r\n" for host in hosts)
    with socket.create_connection((api.base_url.host, api.base_url.port or 80)) as raw:
        raw.sendall(f"GET /v1/models HTTP/1.1\r\n{lines}\r\n".encode())
        response = http.client.HTTPResponse(raw)
        response.begin()
        assert response.status == 400


@pytest.mark.parametrize(
    ("name", "host", "known"),
    [
        ("draw.example", "draw.example", True),
        ("draw.example", "a.draw.example", False),
        ("*.example", "a.b.example", True),
        ("*.example", "example", False),
        ("*.example", "anexample", False),
        ("*", "whatever", True),
    ],
)
def test_a_name_means_itself_and_a_star_what_is_below(name: str, host: str, known: bool) -> None:
    assert is_known(host, [name]) == known


def test_random_words_pass_only_as_what_they_are() -> None:
    chance = random.Random(7)
    for _ in range(5000):
        word = "".join(chance.choice("al.:[]0127-_@/ \x00é%") for _ in range(chance.randrange(12)))
        host = host_of(word)
        assert host is None or not set(host) & set("@/ \x00é%"), word
        if host and is_known(host, LOOPBACK):
            assert set(host) <= set("0127.:[]") | set("alf") or "localhost" in host, word
