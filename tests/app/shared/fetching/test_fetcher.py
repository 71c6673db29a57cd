"""The fetcher against servers that lie: each ends with an error that is told, soon, and with nothing from an inside."""

import gzip
import itertools
import ssl
from collections.abc import Callable, Iterable, Sequence

import httpcore
import pytest
import trustme
from pydantic import SecretStr

from app.shared.errors import RadiataError, SourceAway, SourceRefused
from app.shared.fetching.fetcher import Bounds, Fetcher, Token
from tests.app.shared.fetching.lying import Lying, Says, answer

BOUNDS = Bounds(1000, 60)
METADATA = "http://169.254.169.254/latest/meta-data/"


class Clock:
    """A clock that goes on by `step` seconds whenever it is looked at."""

    def __init__(self, step: float = 0.0) -> None:
        self.seconds, self.step = 0.0, step

    def __call__(self) -> float:
        self.seconds += self.step
        return self.seconds


def repeated(piece: bytes) -> Callable[[bytes], Iterable[bytes]]:
    return lambda _: itertools.repeat(piece, 20_000)


def first(*pieces: bytes, then: bytes) -> Says:
    return lambda _: itertools.chain(pieces, itertools.repeat(then, 20_000))


def to(location: str, status: str = "302 Found") -> bytes:
    return answer(status=status, Location=location)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(b"\0" * 1_000_000)
LIARS: dict[str, tuple[Says | bytes, str]] = {
    "redirects to metadata": (to(METADATA), "address_refused"),
    "redirects to metadata, encrypted": (to("https://169.254.169.254/"), "address_refused"),
    "redirects to a mapped address": (to("https://[::ffff:169.254.169.254]/"), "address_refused"),
    "redirects through NAT64": (to("https://[64:ff9b::a9fe:a9fe]/"), "address_refused"),
    "redirects to a decimal address": (to("https://2852039166/"), "address_refused"),
    "redirects to an octal address": (to("https://0251.0376.0251.0376/"), "address_refused"),
    "redirects to another scheme": (to("file:///etc/passwd"), "address_refused"),
    "redirects to gopher": (to("gopher://example.org/_x"), "address_refused"),
    "redirects to a name inside": (to("https://inside.example/"), "address_refused"),
    "redirects to http elsewhere": (to("http://public.example/"), "address_refused"),
    "redirects with a password": (to("https://user:word@public.example/"), "address_refused"),
    "redirects to itself for ever": (to("/"), "address_refused"),
    "redirects nowhere": (answer(status="302 Found"), "source_unusable"),
    "redirects to what is no URL": (to("https://[::1/"), "address_refused"),
    "redirects to a very long address": (to("/" + "a" * 9000), "address_refused"),
    "sends a body without end": (first(CHUNKED, then=b"3e8\r\n" + b"x" * 1000 + b"\r\n"), "source_too_large"),
    "says that its body is huge": (answer(b"x", length=10**12), "source_too_large"),
    "says more digits than there are bytes": (answer(b"x", length=10**30), "source_away"),
    "sends less than it says": (answer(b"x" * 10, length=20), "source_away"),
    "ends within a chunk": (CHUNKED + b"a\r\nxxx", "source_away"),
    "says two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "source_away"),
    "says no length": (b"HTTP/1.1 200 OK\r\n\r\nxx", "source_no_length"),
    "says a negative length": (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nxx", "source_away"),
    "packs its body": (answer(BOMB, Content_Encoding="gzip"), "source_encoded"),
    "packs its body as nobody knows": (answer(b"x", Content_Encoding="br, gzip"), "source_encoded"),
    "packs its chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "source_away"),
    "sends a head without end": (first(b"HTTP/1.1 200 OK\r\n", then=b"X: " + b"y" * 997 + b"\r\n"), "source_away"),
    "sends answers before the answer for ever": (repeated(b"HTTP/1.1 100 Continue\r\n\r\n"), "source_away"),
    "switches to another protocol": (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "source_away"),
    "speaks no HTTP": (b"SSH-2.0-OpenSSH_9.9\r\n", "source_away"),
    "says nothing": (b"", "source_away"),
    "sends a part that nobody asked for": (answer(b"x", "206 Partial Content"), "source_unusable"),
    "wants a token": (answer(status="401 Unauthorized"), "source_gated"),
    "is gated": (answer(status="403 Forbidden"), "source_gated"),
    "has nothing": (answer(status="404 Not Found"), "source_not_found"),
    "is over its limit": (answer(status="429 Too Many Requests"), "source_away"),
    "fails": (answer(status="503 Service Unavailable"), "source_away"),
    "has nothing to say": (b"HTTP/1.1 204 No Content\r\n\r\n", "source_unusable"),
}
NAMES = {"inside.example": ["10.0.0.1"], "public.example": ["1.1.1.1"], "mixed.example": ["1.1.1.1", "127.0.0.1"]}


def names(host: str, port: int) -> Sequence[str]:
    """A resolver without a network: names of the table, and addresses as they are."""
    return NAMES.get(host, [host])


def fetched(fetcher: Fetcher, url: str, bounds: Bounds = BOUNDS) -> bytes:
    with fetcher.get(url, bounds) as found:
        found.judge()
        if found.status != 200:
            raise SourceRefused("source_unusable", f"a part was sent that nobody asked for: {found.status}")
        return found.whole()


@pytest.mark.parametrize("liar", LIARS)
def test_a_server_that_lies_is_told_of(liar: str) -> None:
    says, code = LIARS[liar]
    with Lying(says).serving() as server:
        fetcher = Fetcher(allow=(f"127.0.0.1:{server.port}",), resolve=names)
        with pytest.raises((SourceRefused, SourceAway)) as told:
            fetched(fetcher, f"http://127.0.0.1:{server.port}/")
    assert told.value.code == code, told.value.message
    assert len(told.value.message.split()) > 3
    assert len(server.asked) <= 6


def test_what_a_server_says_truly_is_what_comes() -> None:
    with Lying(lambda head: [to("/b") if b"GET /a" in head else answer(b"hello")]).serving() as server:
        assert (
            fetched(Fetcher(allow=("127.0.0.1",), resolve=names), f"http://127.0.0.1:{server.port}/a?x=1") == b"hello"
        )
    assert [one.split(b"\r\n")[0] for one in server.asked] == [b"GET /a?x=1 HTTP/1.1", b"GET /b HTTP/1.1"]
    assert b"accept-encoding: identity" in server.asked[0].lower()


def test_a_drip_ends_when_the_time_of_the_whole_is_over() -> None:
    """Each byte comes within the time that a silence may last; all of them would take years."""
    drip = first(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n", then=b"x" * 1000)
    with Lying(drip).serving() as server:
        fetcher = Fetcher(allow=("127.0.0.1",), resolve=names, clock=Clock(1))
        with pytest.raises(SourceAway, match="longer than the 60 s"):
            fetched(fetcher, f"http://127.0.0.1:{server.port}/", Bounds(10**7, 60))


@pytest.mark.parametrize(
    ("host", "port"),
    [("127.0.0.1", 443), ("mixed.example", 443), ("inside.example", 443), ("[::1]", 443), ("[fe80::1%lo]", 443)],
)
def test_an_inside_is_not_connected_to_by_any_name(host: str, port: int) -> None:
    with pytest.raises(SourceRefused) as refusal:
        fetched(Fetcher(resolve=names), f"https://{host}:{port}/")
    assert refusal.value.code == "address_refused"


def test_a_connection_that_ends_elsewhere_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something between may lead it to another address than the one that was judged."""
    told: list[bytes] = []

    class Elsewhere(httpcore.NetworkStream):
        def get_extra_info(self, info: str) -> object:
            return ("169.254.169.254", 443)

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            told.append(buffer)

        def close(self) -> None:
            told.append(b"closed")

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", lambda *_, **__: Elsewhere())
    with pytest.raises(SourceRefused, match="link-local"):
        fetched(Fetcher(resolve=names), "https://public.example/")
    assert told == [b"closed"]


def test_a_name_is_resolved_once_and_what_it_gave_is_connected_to() -> None:
    """A second look-up would give another address: what was judged is what is asked."""
    given = iter([["127.0.0.1"], ["10.0.0.1"]])
    with Lying(answer(b"hello")).serving() as server:
        fetcher = Fetcher(allow=("turning.example",), resolve=lambda host, port: next(given))
        assert fetched(fetcher, f"http://turning.example:{server.port}/") == b"hello"
    assert b"Host: turning.example:" in server.asked[0]
    turned = Fetcher(resolve=lambda host, port: ["127.0.0.1"])
    with pytest.raises(SourceRefused):
        fetched(turned, f"https://turning.example:{server.port}/")


def test_a_redirect_to_a_name_that_turns_inwards_is_refused() -> None:
    given = {"outer.example": iter([["127.0.0.1"]]), "turning.example": iter([["192.168.0.1"]])}
    with Lying(to("https://turning.example/")).serving() as server:
        fetcher = Fetcher(allow=("outer.example",), resolve=lambda host, port: next(given[host]))
        with pytest.raises(SourceRefused, match=r"'turning\.example' leads to an address that is private"):
            fetched(fetcher, f"http://outer.example:{server.port}/")


def test_a_token_is_sent_to_its_host_alone_and_said_nowhere() -> None:
    other = Lying(answer(status="403 Forbidden"))
    hub = Lying(to(f"http://localhost:{other.port}/x?signature=abc"))
    token = Token(f"http://127.0.0.1:{hub.port}", SecretStr("hunter2"))
    fetcher = Fetcher(("127.0.0.1", "localhost"), resolve=lambda host, port: ["127.0.0.1"])
    asked = fetcher.get(f"http://127.0.0.1:{hub.port}/", BOUNDS, token=token)
    with other.serving(), hub.serving(), pytest.raises(SourceRefused) as refusal, asked as found:
        found.judge()
    assert b"Authorization: Bearer hunter2" in hub.asked[0]
    assert b"hunter2" not in other.asked[0] and b"authorization" not in other.asked[0].lower()
    assert "hunter2" not in refusal.value.message and "abc" not in refusal.value.message
    assert "hunter2" not in repr(token)


@pytest.mark.parametrize("status", ["301 Moved Permanently", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_what_is_sent_is_not_sent_on(status: str) -> None:
    with Lying(to("/elsewhere", status)).serving() as server:
        fetcher = Fetcher(allow=("127.0.0.1",), resolve=names)
        assert fetcher.post(f"http://127.0.0.1:{server.port}/", b"{}", {"X-A": "b"}, BOUNDS) == int(status[:3])
    assert [one.split(b" ")[0] for one in server.asked] == [b"POST"]
    assert server.bodies == [b"{}"]


def test_json_that_is_none_is_told_of() -> None:
    for body in (b"{", b"[" * 100_000):
        with Lying(answer(body)).serving() as server, pytest.raises(RadiataError, match="no JSON"):
            Fetcher(allow=("127.0.0.1",), resolve=names).json(f"http://127.0.0.1:{server.port}/")


def test_a_certificate_is_judged_by_the_name_and_not_by_the_address() -> None:
    authority = trustme.CA()
    secured = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("hub.example").configure_cert(secured)
    asked: list[str | None] = []
    secured.sni_callback = lambda _socket, name, _context: asked.append(name)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with Lying(answer(b"hello"), secured).serving() as server:
        given = {
            "allow": ("hub.example", "other.example"),
            "resolve": lambda host, port: ["127.0.0.1"],
            "trust": lambda: trusting,
        }
        assert fetched(Fetcher(**given), f"https://hub.example:{server.port}/") == b"hello"
        with pytest.raises(SourceAway, match="certificate"):
            fetched(Fetcher(**given), f"https://other.example:{server.port}/")
    assert asked == ["hub.example", "other.example"]
