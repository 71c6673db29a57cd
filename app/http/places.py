"""Addresses in answers, as they are from outside: below the prefix that a proxy shows the service under."""

from typing import Annotated

from fastapi import Depends, Request

from app.shared.wire.generation import Generation
from app.shared.wire.training import Training, TrainingPicture


async def _prefix(request: Request) -> str:
    return request.scope.get("root_path", "")


Prefix = Annotated[str, Depends(_prefix)]


def placed(generation: Generation, prefix: str) -> Generation:
    """A generation whose pictures are where the client finds them; what is stored knows no prefix."""
    if not prefix:
        return generation
    images = [image.model_copy(update={"url": prefix + image.url}) for image in generation.images]
    return generation.model_copy(update={"images": images})


def training_placed(training: Training, prefix: str) -> Training:
    """A training whose samples are where the client finds them."""
    if not prefix:
        return training

    def moved(pictures: list[TrainingPicture]) -> list[TrainingPicture]:
        return [one.model_copy(update={"url": prefix + one.url}) for one in pictures]

    checkpoints = [one.model_copy(update={"samples": moved(one.samples)}) for one in training.checkpoints]
    return training.model_copy(update={"pictures": moved(training.pictures), "checkpoints": checkpoints})
