"""Where a service is, and whether that is this machine."""

import ipaddress
import os
from urllib.parse import urlsplit

URL, KEY = "RADIATA_URL", "RADIATA_KEY"  # as the command line reads them
DEFAULT = "http://127.0.0.1:8000"


def place(url: str | None) -> str:
    """The address of the service: as given, as the environment says, or the default of `radiata up`."""
    text = (url or os.environ.get(URL) or DEFAULT).rstrip("/")
    return text if "://" in text else f"http://{text}"


def is_here(url: str) -> bool:
    """Tell whether a URL is one of this machine's loopback, which no proxy reaches."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback or address.is_unspecified
