"""Where a service is, as people type it, and whether that is this machine."""

import ipaddress
import os
from urllib.parse import urlsplit

URL, KEY = "RADIATA_URL", "RADIATA_KEY"  # as the command line reads them
DEFAULT = "http://127.0.0.1:8000"


def place(url: str | None) -> str:
    """The address of the service: as given, as the environment says, or the default of `radiata up`.

    Raises ValueError for what is none.
    """
    return read_url(url or os.environ.get(URL) or DEFAULT)


def read_url(text: str) -> str:
    """A URL as people type it, with or without its scheme; raises ValueError with a sentence."""
    text = text.strip()
    address = _ip_of(text)
    if address and address.version == 6:
        text = f"[{text}]"
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        hint = "; an IPv6 address stands in brackets, as in http://[::1]:8000" if text.count(":") > 2 else ""
        raise ValueError(f"{text!r} is no address ({error}){hint}") from error
    if parts.scheme not in ("http", "https") or not host or any(letter.isspace() for letter in url):
        raise ValueError(f"{text!r} is no address; one looks like {DEFAULT}")
    return url.rstrip("/")


def readable_key(key: str | None) -> str | None:
    """A key, which can be sent in a header; raises ValueError, with a sentence that does not say the key."""
    key = key or os.environ.get(KEY) or None
    if key and not (key.isascii() and key.isprintable() and key == key.strip()):
        raise ValueError("the key of the service has characters that no key has; `radiata keys add` shows one to copy")
    return key


def is_here(url: str) -> bool:
    """Tell whether a URL is one of this machine's loopback, which no proxy reaches."""
    host = urlsplit(url).hostname or ""
    address = _ip_of(host)
    if address is None:
        return host == "localhost" or host.endswith(".localhost")
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback or address.is_unspecified


def _ip_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a host is, or None where it is a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
