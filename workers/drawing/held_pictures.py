"""The pictures of the generation that is being drawn: each is read from storage once, for all its passes and copies."""

from PIL.Image import Image as Picture

from app.shared.pictures import PictureRef, Pictures
from app.shared.storage import Storage


class HeldPictures(Pictures):
    """Keeps pictures as `Pictures` does, and holds in memory what was loaded until it is told to forget it."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        self._held: dict[PictureRef, Picture] = {}

    def load(self, ref: PictureRef) -> Picture:
        """As `Pictures.load`; the picture belongs to all who load it, and may not be changed."""
        if ref not in self._held:
            self._held[ref] = super().load(ref)
        return self._held[ref]

    def forget(self) -> None:
        """Let go of all that is held."""
        self._held.clear()
