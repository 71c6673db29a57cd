"""What `tests/e2e/test_faces.py` asks of a face: one class around that API's own client, as it is installed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


@dataclass(frozen=True)
class Wanted:
    """One picture to draw. What it does not say is as the base has it; a client that always says it, says that."""

    prompt: str = "a red apple"
    adapters: Mapping[str, float] = field(default_factory=dict[str, float])  # name -> strength
    seed: int = 7
    steps: int = 4
    guidance_scale: float = 3.0
    width: int = 64
    height: int = 64


class Followed(NamedTuple):
    """A picture, and what the client saw before it was there: shares of the work that was done, each from 0 to 1."""

    file: bytes
    shares: list[float]


class Face(Protocol):
    """A client of one API on a running service."""

    @property
    def follows(self) -> bool:
        """Whether this API shows work before it is done."""
        ...

    # What its client raises; of an API that raises nothing for one of them, what its page tells people to raise
    @property
    def unknown_adapter(self) -> type[Exception]:
        """Where an adapter is not there."""
        ...

    @property
    def wrong_size(self) -> type[Exception]:
        """Where a size is not drawn."""
        ...

    @property
    def canceled(self) -> type[Exception]:
        """Where somebody else cancels what it waits for."""
        ...

    def __init__(self, url: str) -> None:
        """Make the client; url: of the service, without the face's own prefix."""
        ...

    def draw(self, wanted: Wanted) -> bytes:
        """Draw and wait, as people do there; the file, in a format that loses no pixel."""
        ...

    def follow(self, wanted: Wanted) -> Followed:
        """Draw, and look on: by a stream, or by asking again; not called where `follows` is false."""
        ...

    def begin(self, wanted: Wanted) -> Callable[[], None]:
        """Begin to draw; what is returned cancels it, in the way that this API has."""
        ...

    def sentence(self, error: Exception) -> str:
        """What a person reads who catches an error of this client."""
        ...

    def close(self) -> None:
        """Let go of what the client holds."""
        ...
