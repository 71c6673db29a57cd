"""Addresses: where the service listens, and how that is written as a URL."""

import errno
import ipaddress
import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack

from app.shared.environment import SOCKETS
from app.shared.errors import Unavailable
from app.shared.settings import BadSettings, Settings

BACKLOG = 2048


def url_of(host: str, port: int) -> str:
    """The URL at which this machine reaches what listens on `host` and `port`."""
    address = _ip_of(host)
    if address and address.is_unspecified:
        host = "::1" if address.version == 6 else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(settings: Settings) -> list[socket.socket]:
    """Sockets that listen on the host and port of the settings: one for each address that the host has.

    Raises BadSettings when that cannot be, or when other machines would reach it without leave or key.
    """
    if inherited := os.environ.get(SOCKETS):
        return [socket.socket(fileno=int(number)) for number in inherited.split(",")]
    addresses = _addresses(settings.host)
    reached = _reached_by_others(settings, [address for _, address in addresses])
    if reached and not settings.open and not _has_key(settings):
        raise BadSettings(
            f"{reached}, and whoever reaches a service without a key may use all of it; add one (`radiata keys add`), "
            "listen on 127.0.0.1 with no proxy before it, or set RADIATA_OPEN=1 if that is what you want"
        )
    port = settings.port
    with ExitStack() as held:
        sockets: list[socket.socket] = []
        for family, address in addresses:
            one = held.enter_context(socket.socket(family))
            try:
                _bind(one, address, port)
            except OSError as error:
                one.close()
                # A name may have addresses of which this machine has but one
                if error.errno != errno.EADDRNOTAVAIL or (address == addresses[-1][1] and not sockets):
                    raise BadSettings(_unbound(settings.host, port, error)) from error
                continue
            port = one.getsockname()[1]  # where any port would do, all addresses have the same
            sockets.append(one)
        held.pop_all()
        return sockets


def _reached_by_others(settings: Settings, addresses: Sequence[str]) -> str:
    """The beginning of a sentence that says how other machines reach these addresses; empty where none does."""
    if not all(_is_loopback(ipaddress.ip_address(_bare(address))) for address in addresses):
        return f"RADIATA_HOST: other machines reach {settings.host}"
    if settings.trusted_proxies and "trusted_proxies" in settings.model_fields_set:
        return "RADIATA_TRUSTED_PROXIES: other machines reach the service through a proxy"
    return ""


def _has_key(settings: Settings) -> bool:
    # A quarter of a second, which commands that only write an address have no need of
    from app.shared.keys import Keyring
    from app.shared.storage import Storage

    try:
        return Keyring(Storage(settings.store_url)).ring().needed
    except Unavailable as error:
        raise BadSettings(f"RADIATA_STORAGE_URL: whether there is a key is not known: {error.message}") from error


def _bind(one: socket.socket, address: str, port: int) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as asyncio does: one socket, one family
    one.bind((address, port))
    one.listen(BACKLOG)


def _unbound(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"RADIATA_PORT: {port} is in use at {host}; stop what listens there, or set another port"
    if error.errno == errno.EACCES:
        return f"RADIATA_PORT: {port} at {host} is not for this user ({error.strerror}); ports from 1024 on are"
    return f"RADIATA_HOST: {host} is no address of this machine ({error.strerror})"


def _addresses(host: str) -> list[tuple[socket.AddressFamily, str]]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise BadSettings(f"RADIATA_HOST: {host!r} is not found ({error})") from error
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _bare(address: str) -> str:
    return address.partition("%")[0]


def _ip_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(_bare(host))
    except ValueError:
        return None


def _is_loopback(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
