"""Effects done with httpx: what both faces set up alike."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from radiata_client.address import is_here
from radiata_client.effects import Answer, Ask, Listen
from radiata_client.errors import Unreachable

CONNECT_S = 10.0
BROKEN = (httpx.TransportError, httpx.DecodingError)  # thrown into the operation, which knows whether to ask again


def settings(url: str, key: str | None, timeout_s: float) -> dict[str, Any]:
    """What an httpx client of a service is made with."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = httpx.Timeout(timeout_s, connect=CONNECT_S)
    # A proxy that the environment names does not lead back to this machine
    return {"base_url": url, "headers": headers, "timeout": timeout, "trust_env": not is_here(url)}


def arguments(ask: Ask, files: ExitStack) -> dict[str, Any]:
    """What httpx is given for a request; files: closes what is opened for it."""
    said: dict[str, Any] = {"headers": dict(ask.headers)}
    if ask.file:
        name, place = ask.file
        content = files.enter_context(place.open("rb")) if isinstance(place, Path) else place
        said |= {"files": {"file": (name, content)}, "data": dict(ask.form or {})}
    given = {"json": ask.json, "params": ask.params, "content": ask.content}
    said |= {name: value for name, value in given.items() if value is not None}
    if ask.patient:
        said["timeout"] = httpx.Timeout(CONNECT_S, read=None)
    return said


def of_listening(listen: Listen) -> dict[str, Any]:
    """What httpx is given for a stream."""
    return {"headers": dict(listen.headers), **({"params": dict(listen.params)} if listen.params else {})}


def answer_of(response: httpx.Response, content: bytes) -> Answer:
    """An answer as operations take it."""
    return Answer(response.status_code, response.headers, content, str(response.url), response.reason_phrase)


def made(make: Callable[..., Any], url: str, key: str | None, timeout_s: float, transport: Any) -> Any:
    """An httpx client; raises Unreachable where the environment names a proxy that is none."""
    try:
        return make(**settings(url, key, timeout_s), **({"transport": transport} if transport else {}))
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise Unreachable(f"the proxy in the environment cannot be used: {error}") from error
