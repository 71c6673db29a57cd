"""Which size a picture is trained at, and what of it: never larger than it is, and as little cut off as can be.

The API tells it beforehand, and the trainer does it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import lcm, sqrt

from app.shared.errors import BadRequest
from app.shared.wire.model import ModelProfile

COARSE = 64  # pixels between sizes of large bases, so that pictures share them
LARGE = 512  # pixels of an edge from which a base is one


@dataclass(frozen=True)
class Bucket:
    """A size in pixels, and the box of the picture that is scaled to it (left, top, right, bottom)."""

    width: int
    height: int
    box: tuple[int, int, int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height

    @property
    def scale(self) -> float:
        """By how much the picture is scaled; never over 1."""
        left, top, right, bottom = self.box
        return max(self.width / (right - left), self.height / (bottom - top))


class Buckets:
    """The sizes at which a base is trained. area: of a picture at most, in pixels; None is the base's own."""

    def __init__(self, profile: ModelProfile, area: int | None = None) -> None:
        self._sizes = profile.sizes
        self._area = area or profile.width * profile.height
        large = min(profile.width, profile.height) >= LARGE
        self._step = lcm(profile.size_multiple, COARSE) if large else profile.size_multiple

    def of(self, name: str, width: int, height: int) -> Bucket:
        """Return the bucket of a picture of this size; raises BadRequest, with its name, where none is so small."""
        sizes = list(self._candidates(width, height))
        if not sizes:
            message = (
                f"picture {name!r} is {width}×{height} pixels, less than the smallest size that this base is trained "
                "at; pictures are not enlarged"
            )
            raise BadRequest("picture_too_small", message)
        found = [Bucket(*size, _box(width, height, *size)) for size in sizes]
        return max(found, key=lambda bucket: (_pixels(bucket.box), bucket.width * bucket.height))

    def _candidates(self, width: int, height: int) -> Iterator[tuple[int, int]]:
        if self._sizes:
            yield from ((w, h) for w, h in self._sizes if w <= width and h <= height)
            return
        scale = min(1.0, sqrt(self._area / (width * height)))
        floors = [int(edge * scale) // self._step * self._step for edge in (width, height)]
        for columns, rows in product(*((edge, edge + self._step) for edge in floors)):
            if 0 < columns <= width and 0 < rows <= height and columns * rows <= self._area:
                yield columns, rows


def _box(width: int, height: int, columns: int, rows: int) -> tuple[int, int, int, int]:
    """Return the middle of a picture with the aspect of a bucket, as large as can be."""
    scale = min(width / columns, height / rows)
    across, down = min(round(columns * scale), width), min(round(rows * scale), height)
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


def _pixels(box: Sequence[int]) -> int:
    left, top, right, bottom = box
    return (right - left) * (bottom - top)
