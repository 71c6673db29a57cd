"""What an operation wants done: the core asks for it, and a face does it, waiting as Python or as asyncio does.

An operation is a generator. It yields effects, is sent what came of each, and has an httpx.TransportError thrown into
it where that is a broken connection; what it returns is its result.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Ask:
    """Send a request; an `Answer` comes of it. file: a name and where its bytes are, sent as a form with `form`."""

    method: str
    path: str
    json: Any = None
    params: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    file: tuple[str, Path | bytes] | None = None
    form: Mapping[str, Any] | None = None
    patient: bool = False  # however long the answer takes


@dataclass(frozen=True)
class Answer:
    """What came of a request, read to its end."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    url: str
    reason: str = ""


@dataclass(frozen=True)
class Listen:
    """Open a stream; an `Answer` comes of it, without its content where it is 200: that comes of `Hear`."""

    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Hear:
    """Take the next bytes of the stream that is open; None at its end, with which it is closed."""


@dataclass(frozen=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Tell:
    """Hand something to whoever follows the operation."""

    what: Any


Effect = Ask | Listen | Hear | Pause | Tell
Operation = Generator[Effect, Any, T]
