"""Pictures that are trained, whoever keeps them: hash and size of their pixels, captions, repeats."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256

from PIL import Image as Images
from PIL.Image import Image, Resampling, Transpose

from app.shared.buckets import Bucket
from app.shared.errors import BadRequest
from app.shared.pictures import Pictures, picture_ref
from app.shared.wire.dataset import Dataset

NAMED = 5  # pictures in a sentence


@dataclass(frozen=True)
class TrainingPicture:
    """One picture: its identity is `ref`, the hash of its pixels, and never its name.

    captions: wordings, of which one is drawn at every showing. repeats: how often it is shown in an epoch. load: gives
    its pixels (mode RGB or RGBA, upright).
    """

    name: str
    ref: str
    width: int
    height: int
    captions: tuple[str, ...]
    load: Callable[[], Image] = field(compare=False, repr=False)
    repeats: int = 1

    def pixels(self) -> Image:
        """Return its pixels on white, mode RGB; raises BadRequest where they are others than when it was read."""
        image = self.load()
        if picture_ref(image) != self.ref:
            raise BadRequest("picture_changed", f"picture {self.name!r} was changed since the training has read it")
        return on_white(image)


def of_dataset(
    dataset: Dataset, stored: Pictures, default: str | None = None, trigger: str | None = None
) -> list[TrainingPicture]:
    """Return the pictures of a dataset; a caption has one wording a line.

    default: the caption of those that have none; without it BadRequest names them. trigger: words before every wording.
    """
    missing = [one.name or one.ref for one in dataset.pictures if one.caption is None]
    if missing and default is None:
        raise uncaptioned(missing, len(dataset.pictures))
    return [
        TrainingPicture(
            one.name or one.ref,
            one.ref,
            one.width,
            one.height,
            wordings(one.caption if one.caption is not None else default or "", trigger),
            partial(stored.load, one.ref),
            one.repeats,
        )
        for one in dataset.pictures
    ]


def wordings(caption: str, trigger: str | None = None) -> tuple[str, ...]:
    """Return the wordings of a caption, one a line, each behind the trigger."""
    lines = [line.strip() for line in caption.splitlines() if line.strip()] or [""]
    return tuple(", ".join(filter(None, (trigger, line))) for line in lines)


def uncaptioned(missing: Sequence[str], of: int) -> BadRequest:
    """Return the refusal of pictures that have no caption, of so many."""
    listed = ", ".join(missing[:NAMED]) + (f" and {len(missing) - NAMED} more" if len(missing) > NAMED else "")
    message = f"{len(missing)} of {of} pictures have no caption: {listed}; name a default one"
    return BadRequest("caption_missing", message)


def on_white(image: Image) -> Image:
    """Return a picture without alpha."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    return Images.alpha_composite(Images.new("RGBA", image.size, "white"), image).convert("RGB")


def cut(image: Image, bucket: Bucket, mirrored: bool) -> Image:
    """Return the pixels of a picture that are trained, at its bucket's size."""
    part = image.crop(bucket.box)
    part = part if part.size == bucket.size else part.resize(bucket.size, Resampling.LANCZOS)
    return part.transpose(Transpose.FLIP_LEFT_RIGHT) if mirrored else part


def fingerprint(pictures: Sequence[TrainingPicture]) -> str:
    """Return a hash of everything about the pictures that decides a training."""
    total = sha256()
    for one in pictures:
        total.update(repr((one.ref, one.captions, one.repeats)).encode())
    return total.hexdigest()
