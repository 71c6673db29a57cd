"""What asks other hosts: one guard over every request and redirect, bounded in bytes and seconds, nothing unpacked."""

import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpcore
from pydantic import SecretStr

from app.shared.errors import SourceAway, SourceRefused
from app.shared.fetching.network import HEAD_BYTES, Allowance, GuardedNetwork, Resolve, resolved
from app.shared.fetching.place import Place, read_place, refused

REDIRECTS = 5
SILENCE_S = 30.0  # for which nothing at all may come
AGENT = "radiata"
REDIRECT = {301, 302, 303, 307, 308}
FINAL = {  # statuses that another try does not change: the code, and how the sentence goes on
    401: ("source_gated", "asks for a token that may read it"),
    403: ("source_gated", "does not let this service read it; accept its terms there, or set a token that may"),
    404: ("source_not_found", "has no such thing"),
    410: ("source_not_found", "has no such thing any more"),
}
UNSEEN = (
    "source_not_found",
    "has no such thing, or shows it to those alone whom it knows: check its name, or set a token",
)
PASSING = {408, 425, 429}


@dataclass(frozen=True)
class Bounds:
    """What one request may take, its redirects included; size: bytes of the body."""

    size: int
    seconds: float


SMALL = Bounds(8 * 1024 * 1024, 60)  # what describes a thing, never the thing


@dataclass(frozen=True)
class Token:
    """What a GET is sent with, at one place alone; base: the URL of that place."""

    base: str
    secret: SecretStr


class Answer:
    """The head of an answer, and its body as it comes."""

    def __init__(self, place: Place, response: httpcore.Response, bounds: Bounds) -> None:
        self.place, self.status, self._response, self._bounds = place, response.status, response, bounds
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}

    @property
    def length(self) -> int | None:
        """Bytes of the body, where the answer says so; chunks say where they end."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None

    def chunks(self, before: int = 0) -> Iterator[bytes]:
        """The body as it was sent; before: bytes that are here already. Raises SourceRefused and SourceAway."""
        if self.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise SourceRefused("source_encoded", f"{self.place.shown} sends it packed, which was not asked for")
        if self.length is None and "transfer-encoding" not in self.headers:
            raise SourceRefused("source_no_length", f"{self.place.shown} does not say where what it sends ends")
        self._judge_size(before + (self.length or 0))
        got = before
        with _told(self.place):
            for chunk in self._response.iter_stream():
                got += len(chunk)
                self._judge_size(got)
                yield chunk

    def whole(self) -> bytes:
        """All of the body."""
        return b"".join(self.chunks())

    def _judge_size(self, size: int) -> None:
        if size > self._bounds.size:
            raise SourceRefused("source_too_large", f"{self.place.shown} sends over {self._bounds.size} bytes")

    def judge(self) -> None:
        """Raise SourceRefused or SourceAway for a status that brings nothing."""
        if self.status in FINAL:
            # The hub answers 401 of what is not there as well, and says so in a header
            missing = self.headers.get("x-error-code", "").endswith("NotFound")
            code, why = UNSEEN if missing else FINAL[self.status]
            raise SourceRefused(code, f"{self.place.netloc} answered {self.status}: it {why} ({self.place.shown})")
        said = f"{self.place.shown} answered {self.status}"
        if self.status in PASSING or self.status >= 500:
            raise SourceAway("source_away", f"{said}; it is asked again later")
        if self.status not in (200, 206):
            raise SourceRefused("source_unusable", f"{said}, which brings nothing that can be used")


class Fetcher:
    """Asks other hosts; allow: those that may be http and private."""

    def __init__(
        self,
        allow: tuple[str, ...] = (),
        resolve: Resolve = resolved,
        clock: Callable[[], float] = time.monotonic,
        trust: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self.allow = allow
        self._resolve, self._clock, self._trust = resolve, clock, trust or _trusted

    @contextmanager
    def get(
        self, url: str, bounds: Bounds, headers: Mapping[str, str] | None = None, token: Token | None = None
    ) -> Iterator[Answer]:
        """What a URL answers, after its redirects, each judged as the first; raises SourceRefused and SourceAway.

        token: sent where scheme, host and port are those of its base, and nowhere else.
        """
        allowance = Allowance(self._clock, bounds.seconds)
        place = read_place(url, self.allow)
        known = read_place(token.base, self.allow) if token else None
        for _ in range(REDIRECTS + 1):
            sent = dict(headers or {})
            if token and known and (place.scheme, place.netloc) == (known.scheme, known.netloc):
                sent["Authorization"] = f"Bearer {token.secret.get_secret_value()}"
            with self._asked("GET", place, sent, None, bounds, allowance) as answer:
                if answer.status not in REDIRECT:
                    yield answer
                    return
                if "location" not in answer.headers:
                    raise SourceRefused("source_unusable", f"{place.shown} redirects, and does not say where")
                place = place.joined(answer.headers["location"], self.allow)
        raise refused(f"more than {REDIRECTS} redirects follow one another, the last to {place.shown}")

    def json(self, url: str, token: Token | None = None) -> Any:
        """What a URL says in JSON; raises SourceRefused and SourceAway."""
        with self.get(url, SMALL, {"Accept": "application/json"}, token) as answer:
            answer.judge()
            try:
                return json.loads(answer.whole())
            except (ValueError, RecursionError) as error:
                raise SourceRefused("source_unusable", f"{answer.place.shown} answers no JSON") from error

    def post(self, url: str, body: bytes, headers: Mapping[str, str], bounds: Bounds) -> int:
        """Send a body; the status of the answer, which is not read. Follows no redirect; raises as `get` does.

        It takes no token: who names the URL would have it sent where they like.
        """
        place = read_place(url, self.allow)
        with self._asked("POST", place, headers, body, bounds, Allowance(self._clock, bounds.seconds)) as answer:
            return answer.status

    def ask(self, url: str, body: bytes, headers: Mapping[str, str], bounds: Bounds) -> tuple[int, bytes]:
        """Send a body; the status and the whole body of the answer. Otherwise as `post`."""
        place = read_place(url, self.allow)
        with self._asked("POST", place, headers, body, bounds, Allowance(self._clock, bounds.seconds)) as answer:
            return answer.status, answer.whole()

    @contextmanager
    def _asked(
        self,
        method: str,
        place: Place,
        headers: Mapping[str, str],
        body: bytes | None,
        bounds: Bounds,
        allowance: Allowance,
    ) -> Iterator[Answer]:
        private = place.allowed_by(self.allow)
        allowance.head = HEAD_BYTES
        own = {"User-Agent": AGENT, "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
        url = httpcore.URL(scheme=place.scheme, host=place.host, port=place.port, target=place.target)
        limits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), SILENCE_S)}
        # A pool for one request: no connection that was judged for one host is ever another's
        with httpcore.ConnectionPool(
            ssl_context=self._trust(), network_backend=GuardedNetwork(self._resolve, allowance, private)
        ) as pool:
            with _told(place):
                sent = _sent(place, own | dict(headers), body)
                response = pool.handle_request(
                    httpcore.Request(method, url, headers=sent, content=body, extensions=limits)
                )
                allowance.head = float("inf")
            try:
                yield Answer(place, response, bounds)
            finally:
                response.close()


def _sent(place: Place, headers: Mapping[str, str], body: bytes | None) -> list[tuple[str, str]]:
    length = {} if body is None else {"Content-Length": str(len(body))}
    return list({"Host": place.netloc, **headers, **length}.items())


@cache
def _trusted() -> ssl.SSLContext:
    from httpx import create_ssl_context  # certifi's authorities, or those of SSL_CERT_FILE; a tenth of a second

    return create_ssl_context()


@contextmanager
def _told(place: Place) -> Iterator[None]:
    """Turn what a connection says into errors that a caller can be told."""
    try:
        yield
    except httpcore.TimeoutException as error:
        raise SourceAway("source_slow", f"{place.shown} did not answer in time ({error or 'silence'})") from error
    except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError) as error:
        raise SourceAway("source_away", f"{place.shown} cannot be read: {error}") from error
