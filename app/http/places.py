"""Addresses in answers, as they are from outside: below the prefix that a proxy shows the service under, and signed.

What is stored knows neither. A service without keys signs nothing: nobody needs a key there.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from app.callers import CALLER, Caller
from app.links import Links
from app.shared.wire.adapter import ShownAdapter
from app.shared.wire.generation import Generation, Image
from app.shared.wire.training import Training, TrainingPicture

P = TypeVar("P", Image, TrainingPicture)
A = TypeVar("A", bound=ShownAdapter)


@dataclass(frozen=True)
class Place:
    """Where whoever asks sees the service; links: signs what they need a key for."""

    prefix: str = ""
    links: Links | None = None

    def __bool__(self) -> bool:
        """Whether an address is another there than it is stored."""
        return bool(self.prefix or self.links)

    def url(self, path: str) -> str:
        """An address as it is from there."""
        return f"{self.prefix}{path}{self.links.query(path) if self.links and path else ''}"

    def moved(self, pictures: Iterable[P]) -> list[P]:
        """Pictures with their addresses as they are from there."""
        return [one.model_copy(update={"url": self.url(one.url)}) for one in pictures]


def place_of(request: Request) -> Place:
    """Where whoever sent a request sees the service."""
    caller: Caller | None = request.scope.get(CALLER)
    links = request.app.state.service.links if caller and caller.owner is not None else None
    return Place(request.scope.get("root_path", ""), links)


async def _place(request: Request) -> Place:  # async: what is not takes a thread for it
    return place_of(request)


Prefix = Annotated[Place, Depends(_place)]


def placed(generation: Generation, place: Place) -> Generation:
    """A generation whose pictures are where the client finds them."""
    return generation.model_copy(update={"images": place.moved(generation.images)}) if place else generation


def adapter_placed(adapter: A, place: Place) -> A:
    """An adapter whose cover is where the client finds it."""
    url = place.url(f"/v1/images/{adapter.cover}") if adapter.cover else ""
    return adapter.model_copy(update={"cover_url": url})


def training_placed(training: Training, place: Place) -> Training:
    """A training whose samples are where the client finds them."""
    if not place:
        return training
    checkpoints = [one.model_copy(update={"samples": place.moved(one.samples)}) for one in training.checkpoints]
    return training.model_copy(update={"pictures": place.moved(training.pictures), "checkpoints": checkpoints})
