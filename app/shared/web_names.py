"""Names under which the service is reached, as settings have them: lists in words, separated by commas."""

import ipaddress
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

HOST = re.compile(r"\*|(\*\.)?[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
ORIGIN = re.compile(r"https?://([a-z0-9_.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")
PUBLIC = re.compile(r"(https?://(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~-]+)*)/?")
REACHABLE = re.compile(r"([a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
ROOT = re.compile(r"((/[A-Za-z0-9._~-]+)*)/?")


def _listed(value: Any) -> Any:
    return [one.strip() for one in value.split(",") if one.strip()] if isinstance(value, str) else value


def _host(name: str) -> str:
    if not HOST.fullmatch(name.lower()):
        raise ValueError(f"{name!r} is no host name; write draw.example.org, or *.example.org, without scheme or port")
    return name.lower()


def _origin(origin: str) -> str:
    plain = origin.lower().rstrip("/")
    if not ORIGIN.fullmatch(plain):
        raise ValueError(f"{origin!r} is no origin; write https://example.org, with a port where it has one")
    return plain


def _reachable(host: str) -> str:
    if not REACHABLE.fullmatch(host.lower()):
        raise ValueError(f"{host!r} is no host that can be asked; write hub.lan, or 10.0.0.7:9000, without a scheme")
    return host.lower()


def _public(url: str) -> str:
    match = PUBLIC.fullmatch(url)
    if match is None or ".." in url:
        raise ValueError(f"{url!r} is no address of a service; write https://draw.example.org, or with a path behind")
    return match[1]


def _network(network: str) -> str:
    try:
        return str(ipaddress.ip_network(network))
    except ValueError as error:
        raise ValueError(f"{network!r} is no address; write 10.0.0.7 or 10.0.0.0/8") from error


def _root(path: str) -> str:
    match = ROOT.fullmatch(path)
    if match is None or ".." in path:
        raise ValueError(f"{path!r} is no path to be below; write /draw")
    return match[1]


Hosts = Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], NoDecode, BeforeValidator(_listed)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_listed)]
Networks = Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], NoDecode, BeforeValidator(_listed)]
Reachable = Annotated[tuple[Annotated[str, AfterValidator(_reachable)], ...], NoDecode, BeforeValidator(_listed)]
RootPath = Annotated[str, AfterValidator(_root)]
PublicUrl = Annotated[str, AfterValidator(_public)]
