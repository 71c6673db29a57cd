"""How a picture is brought to the size of a drawing: one way for pictures, masks and control maps, so that they agree.

| fit | what is done where the sizes differ |
|---|---|
| refuse | nothing: it is an error |
| stretch | both edges are scaled, each by its own factor |
| crop | it is scaled until it covers the drawing, and cut at its centre |
| pad | it is scaled until it lies within the drawing, in the middle; what lies around it has to be drawn |
"""

from dataclasses import dataclass

from PIL.Image import Image as Picture
from PIL.Image import Resampling, new

from app.shared.wire.picture import Fit

Size = tuple[int, int]


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in a drawing.

    size: width and height of the drawing, in pixels. seen: what of the picture is in it (left, top, right, bottom), in
    the picture's own pixels. at: where that lies in the drawing.
    """

    size: Size
    seen: tuple[float, float, float, float]
    at: tuple[int, int, int, int]

    @classmethod
    def of(cls, picture: Size, drawing: Size, fit: Fit) -> "Placement":
        """Place a picture of one size in a drawing of another; raises ValueError where `fit` is to refuse that."""
        (width, height), (wide, high) = picture, drawing
        whole, everywhere = (0.0, 0.0, float(width), float(height)), (0, 0, wide, high)
        if fit == "stretch" or picture == drawing:
            return cls(drawing, whole, everywhere)
        if fit == "crop":
            scale = max(wide / width, high / height)
            left, top = (width - wide / scale) / 2, (height - high / scale) / 2
            return cls(drawing, (max(left, 0.0), max(top, 0.0), width - left, height - top), everywhere)
        if fit == "pad":
            scale = min(wide / width, high / height)
            inner = max(1, min(wide, round(width * scale))), max(1, min(high, round(height * scale)))
            left, top = (wide - inner[0]) // 2, (high - inner[1]) // 2
            return cls(drawing, whole, (left, top, left + inner[0], top + inner[1]))
        raise ValueError(f"the picture is {width}×{height} and the drawing {wide}×{high}")

    def enlarged(self, drawing: Size) -> "Placement":
        """Return where the picture lies in this drawing when it is stretched to the size of another."""
        factors = [after / before for after, before in zip(drawing, self.size, strict=True)] * 2
        left, top, right, bottom = (round(edge * factor) for edge, factor in zip(self.at, factors, strict=True))
        return Placement(drawing, self.seen, (left, top, max(right, left + 1), max(bottom, top + 1)))

    def of_likeness(self, picture: Size, likeness: Size) -> "Placement":
        """Return where a picture of the same shape in another size lies: what of it is seen is the same part."""
        factors = [after / before for after, before in zip(likeness, picture, strict=True)] * 2
        left, top, right, bottom = (edge * factor for edge, factor in zip(self.seen, factors, strict=True))
        return Placement(self.size, (left, top, right, bottom), self.at)

    @property
    def fills(self) -> bool:
        """Whether it leaves nothing of the drawing free."""
        return self.at == (0, 0, *self.size)

    def place(
        self, picture: Picture, around: int | None = None, resampling: Resampling = Resampling.LANCZOS
    ) -> Picture:
        """Return the drawing's size of a picture.

        around: the value of every channel where the picture is not; None repeats its edges there.
        """
        left, top, right, bottom = self.at
        inner = (right - left, bottom - top)
        if (inner, self.seen) != (picture.size, (0.0, 0.0, *map(float, picture.size))):
            picture = picture.resize(inner, resampling, box=self.seen)
        if self.fills:
            return picture
        if around is None:
            return _extended(picture, self.size, (left, top))
        placed = new(picture.mode, self.size, (around,) * len(picture.getbands()))
        placed.paste(picture, (left, top))
        return placed


def _extended(picture: Picture, size: Size, at: tuple[int, int]) -> Picture:
    """Return a picture of `size` with this one at a place, and its edges repeated around it."""
    (width, height), (wide, high), (left, top) = picture.size, size, at
    placed = new(picture.mode, size)
    columns = [(0, 1, 0, left), (0, width, left, left + width), (width - 1, width, left + width, wide)]
    rows = [(0, 1, 0, top), (0, height, top, top + height), (height - 1, height, top + height, high)]
    for first, last, begin, end in columns:
        for upper, lower, above, below in rows:
            if end > begin and below > above:
                part = picture.crop((first, upper, last, lower))
                placed.paste(part.resize((end - begin, below - above), Resampling.NEAREST), (begin, above))
    return placed
