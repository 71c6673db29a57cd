"""A folder of pictures with captions, read as a dataset that is sent is read; a caption has one wording a line."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from app.shared.errors import BadRequest, PictureRefused
from app.shared.pictures import picture_ref
from workers.dataset_layout import PICTURES, is_text, layout_of
from workers.decoding import decode
from workers.training.pictures import TrainingPicture, uncaptioned, wordings


@dataclass(frozen=True)
class Found:
    """What is in a folder: pictures, and names of those with the default caption, and of captions without a picture."""

    pictures: tuple[TrainingPicture, ...]
    without_caption: tuple[str, ...]
    orphaned: tuple[str, ...]
    twice: tuple[str, ...]  # pictures with the pixels of one before


def read(folder: Path, default: str | None = None) -> Found:
    """Return the pictures of a folder and those below it, in order of name.

    default: the caption of pictures that have none. Raises BadRequest that names every picture without a caption, every
    file of captions that is wrong, and what cannot be decoded.
    """
    if not folder.is_dir():
        raise BadRequest("dataset_unknown", f"there is no folder {folder}")
    root = folder.resolve()
    own = f"{root.name}/"  # which may be `10_word`, too: names are told without it
    names = [own + path.as_posix() for path in _files(root)]
    layout = layout_of(names, {name: (root.parent / name).read_bytes() for name in names if is_text(name)}, default)
    if layout.wrong:
        listed = "; ".join(f"{name.removeprefix(own)} {why.replace(own, '')}" for name, why in layout.wrong.items())
        raise BadRequest("dataset_refused", f"captions in {folder}: {listed}")
    if not layout.pictures:
        raise BadRequest("dataset_empty", f"there is no picture ({', '.join(sorted(PICTURES))}) in {folder}")
    called = {one.name: one.name.removeprefix(own) for one in layout.pictures}
    missing = [called[one.name] for one in layout.pictures if one.caption is None]
    if missing:
        raise uncaptioned(missing, len(called))
    pictures = [
        _picture(root.parent / one.name, called[one.name], wordings(one.caption or ""), one.repeats)
        for one in layout.pictures
    ]
    without = tuple(called[one.name] for one in layout.pictures if one.source == "default")
    orphaned = tuple(name.removeprefix(own) for name in layout.orphaned)
    return Found(tuple(pictures), without, orphaned, tuple(_twice(pictures)))


def _files(root: Path) -> Iterator[Path]:
    """Yield every file below a folder, as seen from it, but for hidden ones."""
    for file in sorted(root.rglob("*")):
        path = file.relative_to(root)
        if file.is_file() and not any(part.startswith((".", "__MACOSX")) for part in path.parts):
            yield path


def _picture(file: Path, name: str, captions: tuple[str, ...], repeats: int) -> TrainingPicture:
    def load() -> Image:
        try:
            return decode(file.read_bytes()).image
        except PictureRefused as error:
            raise BadRequest(error.code, f"picture {name!r}: {error.message}") from error

    image = load()
    return TrainingPicture(name, picture_ref(image), *image.size, captions, load, repeats)


def _twice(pictures: Iterable[TrainingPicture]) -> Iterable[str]:
    seen: set[str] = set()
    for one in pictures:
        if one.ref in seen:
            yield one.name
        seen.add(one.ref)
