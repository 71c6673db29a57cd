"""Datasets on the wire: pictures with captions that adapters are trained on, named by their content."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from app.shared.wire.picture import PictureRef
from app.shared.wire.values import Whole, Wire

DATASET_PREFIX = "dataset:"
DATASET_PATTERN = r"^dataset:[0-9a-f]{64}$"
MAX_REPEATS = 10_000
MAX_CAPTION = 20_000  # characters
MAX_PICTURES = 10_000
MAX_NAME = 200  # characters

DatasetRef = Annotated[str, StringConstraints(pattern=DATASET_PATTERN)]
Unreadable = Literal["refuse", "leave_out"]
Caption = Annotated[str, StringConstraints(max_length=MAX_CAPTION)]
CaptionSource = Literal["file", "metadata", "folder", "default", "edited", "missing"]


class DatasetPicture(Wire):
    """One picture of a dataset: its pixels by their hash, and what is said of it."""

    ref: PictureRef
    caption: Caption | None = Field(
        default=None, description="null where none was found: a training then needs a default"
    )
    repeats: Annotated[Whole, Field(ge=1, le=MAX_REPEATS)] = Field(
        default=1, description="times that it is seen in an epoch"
    )
    width: int
    height: int
    thumbnail: PictureRef | None = Field(default=None, description="the same picture, small")
    name: str = Field(default="", max_length=MAX_NAME, description="of its file, for people: no ref depends on it")
    source: CaptionSource = Field(default="file", description="where the caption comes from; no ref depends on it")


class DatasetReport(Wire):
    """What was found in what was sent."""

    pictures: int = Field(default=0, description="entries of the dataset: pictures that differ in pixels or caption")
    captions: dict[CaptionSource, int] = Field(default={}, description="how many pictures have a caption from where")
    missing: list[str] = Field(default=[], description="files of pictures without a caption")
    empty: list[str] = Field(default=[], description="files of pictures whose caption is empty")
    orphaned: list[str] = Field(default=[], description="captions of no picture")
    duplicates: list[list[str]] = Field(default=[], description="files with the same pixels")
    unreadable: dict[str, str] = Field(default={}, description="files that are no picture that can be read, and why")
    ignored: list[str] = Field(default=[], description="files that are neither pictures nor captions")
    sizes: dict[str, int] = Field(default={}, description="`width×height` and how many pictures have it")
    buckets: dict[str, int] = Field(
        default={},
        description="at which `width×height` they would be trained, on the default model unless another is asked for, "
        "and how many an epoch shows; empty where no worker has loaded it. Never stored",
    )


class Dataset(Wire):
    """A dataset: what it is named by never changes."""

    ref: DatasetRef = Field(
        description="the hash of its pictures' refs, captions and repeats; the same content in another archive, order "
        "or under other names is the same ref"
    )
    pictures: tuple[DatasetPicture, ...] = Field(description="in order of their refs, then of their captions")
    report: DatasetReport = DatasetReport()
    created_at: datetime


class SentDataset(Wire):
    """Which dataset something that was sent came to: kept under a hash of what was sent."""

    ref: DatasetRef


class DatasetSummary(Wire):
    """A dataset in a list."""

    ref: DatasetRef
    pictures: int
    captions: dict[CaptionSource, int]
    created_at: datetime


class Recaption(Wire):
    """Captions in place of those that pictures of a dataset have."""

    captions: dict[PictureRef, Caption] = Field(min_length=1, max_length=MAX_PICTURES, description="by picture")
