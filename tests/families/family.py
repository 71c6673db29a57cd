"""What the suite has to know of a family: how its folder is made, and how diffusers itself is asked for its picture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusers.pipelines.pipeline_utils import DiffusionPipeline


def opened(folder: Path) -> Any:
    """The pipeline of a folder, as diffusers opens it."""
    return DiffusionPipeline.from_pretrained(folder, local_files_only=True, safety_checker=None)


def first_image(output: Any) -> Any:
    """The picture that most pipelines answer with."""
    return output.images[0]


@dataclass(frozen=True)
class Family:
    """A family of base models, small enough to be built and drawn with in a second.

    What it obeys is said here again, by whoever read the pipeline, so that the product's own table is not its judge.
    """

    name: str
    build: Callable[[Path], None]  # saves a diffusers folder with random weights; the same bytes each time
    components: tuple[str, ...]  # all that take an adapter, as a pipeline calls them
    open: Callable[[Path], Any] = opened
    guidance: str | None = "guidance_scale"  # argument of the pipeline's call; None where it has none, or reads none
    negative: bool = True  # a negative prompt is read
    multiple: int = 8  # of width and height, in pixels
    size: tuple[int, int] = (64, 64)  # width and height of the suite's pictures
    shown: bool = False  # it draws nothing without a picture that it is shown
    extra: Mapping[str, Any] = field(default_factory=dict)  # further arguments of diffusers' own call
    picture: Callable[[Any], Any] = first_image
    steps: int = 2
    prompt: str | None = None  # where the usual one is not read by every text encoder
    apart: int = 1  # largest difference of an adapter's picture from a merge by hand, of 255; see the family's file

    def __str__(self) -> str:
        return self.name
