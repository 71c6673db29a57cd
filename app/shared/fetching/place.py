"""A URL, read once: what is judged is what is asked, so no second reader can understand it otherwise."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import quote, urljoin, urlsplit

from app.shared.environment import variable
from app.shared.errors import SourceRefused
from app.shared.fetching.addresses import why_refused

LONGEST = 4096
PORTS = {"https": 443, "http": 80}
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_NUMERIC = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)")  # what C's resolver takes for an IPv4 address in some form
_LITERAL = re.compile(r"[0-9.]+|.*:.*")
_VISIBLE = re.compile(r"[!-~]+")
_KEPT = "!#$%&'()*+,/:;=?@[]~"


@dataclass(frozen=True)
class Place:
    """Where something is asked for; host: in lower case, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def netloc(self) -> str:
        """Host and, where it is not the scheme's own, port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole address."""
        return f"{self.scheme}://{self.netloc}{self.target}"

    @property
    def shown(self) -> str:
        """The address without its query, which may be a signature that opens it."""
        return f"{self.scheme}://{self.netloc}{self.target.partition('?')[0]}"

    def allowed_by(self, names: Collection[str]) -> bool:
        """Whether settings name it: `host`, or `host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host in names or f"{host}:{self.port}" in names

    def joined(self, location: str, allow: Collection[str]) -> "Place":
        """Return where a redirect from here leads; raises SourceRefused."""
        if len(location) > LONGEST:
            raise refused("the redirect is longer than any address should be")
        try:
            whole = urljoin(self.url, quote(location, safe=_KEPT))
        except ValueError as error:
            raise refused("what it redirects to is no URL that can be read") from error
        return read_place(whole, allow)


def refused(why: str) -> SourceRefused:
    """Return the refusal of an address."""
    return SourceRefused("address_refused", f"this address is not asked: {why}")


def read_place(url: str, allow: Collection[str] = ()) -> Place:
    """Return where a URL leads: https, or http of a host in `allow`; raises SourceRefused.

    Where its name leads is judged when it is connected to (`app/shared/fetching/network.py`).
    """
    if len(url) > LONGEST or not _VISIBLE.fullmatch(url) or "\\" in url:
        raise refused(f"a URL has up to {LONGEST} visible ASCII characters, and no backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise refused("it is no URL that can be read; check its port and brackets") from error
    if parts.scheme not in PORTS:
        raise refused("write it with https://")
    if "@" in parts.netloc:
        raise refused("a user name or password in a URL is sent to nobody; leave it out")
    host = _host(parts.hostname or "", bracketed="[" in parts.netloc)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    place = Place(parts.scheme, host, PORTS[parts.scheme] if port is None else port, target)
    if place.port == 0:
        raise refused("there is no port 0")
    if parts.scheme != "https" and not place.allowed_by(allow):
        raise refused(f"only https is asked, but for hosts that {variable('fetch_allow')} names")
    if not place.allowed_by(allow) and _LITERAL.fullmatch(host) and (why := why_refused(host)):
        raise refused(f"{host!r} is an address that is {why}")
    return place


def _host(host: str, bracketed: bool) -> str:
    if bracketed:
        try:
            return str(ip_address(host))
        except ValueError as error:
            raise refused("what stands in its brackets is no IPv6 address") from error
    if not _NAME.fullmatch(host.removesuffix(".")):
        raise refused("it has no host name, or one that no host can have; write names of other scripts as xn--…")
    if _NUMERIC.fullmatch(host.removesuffix(".")):
        try:
            return str(ip_address(host))
        except ValueError as error:  # 2130706433, 0x7f.1, 0177.0.0.1: one address to one reader, another to the next
            raise refused("an IPv4 address is written as four decimal numbers") from error
    return host
