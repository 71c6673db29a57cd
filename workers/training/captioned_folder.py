"""A folder of pictures with a text file each, as trainers have them: `name.png`, `name.txt`, folders `10_word`.

A caption file has one wording a line. A folder named `10_word` shows its pictures ten times an epoch.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from app.shared.errors import BadRequest, PictureRefused
from app.shared.pictures import picture_ref
from workers.decoding import decode
from workers.training.pictures import TrainingPicture

PICTURES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".avif"))
CAPTIONS = (".txt", ".caption")
REPEATS = re.compile(r"(?P<repeats>\d+)_.*")
NAMED = 5  # names in a sentence


@dataclass(frozen=True)
class Found:
    """What is in a folder: pictures, and names of those with the default caption, and of captions without a picture."""

    pictures: tuple[TrainingPicture, ...]
    without_caption: tuple[str, ...]
    orphaned: tuple[str, ...]
    twice: tuple[str, ...]  # pictures with the pixels of one before


def read(folder: Path, default: str | None = None) -> Found:
    """Return the pictures of a folder and those below it, in order of name.

    default: the caption of pictures that have none. Raises BadRequest that names every picture without a caption, two
    pictures with one caption file, and what cannot be decoded.
    """
    if not folder.is_dir():
        raise BadRequest("dataset_unknown", f"there is no folder {folder}")
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not _hidden(file.relative_to(folder))]
    stems: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        if file.suffix.lower() in PICTURES:
            stems[file.with_suffix("")].append(file)
    if not stems:
        raise BadRequest("dataset_empty", f"there is no picture ({', '.join(sorted(PICTURES))}) in {folder}")
    shared = [file.name for many in stems.values() if len(many) > 1 for file in many]
    if shared:
        raise BadRequest("captions_shared", f"pictures of one name have one caption file: {_named(shared)}")
    missing, pictures, texts = [], [], set()
    for stem, (file,) in stems.items():
        said, text = _captions(stem)
        texts |= {text} if text else set()
        name = str(file.relative_to(folder))
        if not said:
            missing.append(name)
        pictures.append(_picture(file, name, said or (default or "",), _repeats(file.parent)))
    if missing and default is None:
        message = f"{len(missing)} of {len(pictures)} pictures have no caption: {_named(missing)}; name a default one"
        raise BadRequest("caption_missing", message)
    orphaned = [str(f.relative_to(folder)) for f in files if f.suffix.lower() in CAPTIONS and f not in texts]
    return Found(tuple(pictures), tuple(missing), tuple(orphaned), tuple(_twice(pictures)))


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _captions(stem: Path) -> tuple[tuple[str, ...], Path | None]:
    files = [file for suffix in CAPTIONS if (file := stem.with_name(stem.name + suffix)).is_file()]
    if not files:
        return (), None
    if len(files) > 1:
        raise BadRequest("captions_shared", f"picture {stem.name!r} has two captions: {_named(f.name for f in files)}")
    try:
        lines = files[0].read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadRequest("caption_not_readable", f"caption {files[0].name!r} is no text in UTF-8") from error
    return tuple(line.strip() for line in lines if line.strip()), files[0]


def _picture(file: Path, name: str, captions: tuple[str, ...], repeats: int) -> TrainingPicture:
    def load() -> Image:
        try:
            return decode(file.read_bytes()).image
        except PictureRefused as error:
            raise BadRequest(error.code, f"picture {name!r}: {error.message}") from error

    image = load()
    return TrainingPicture(name, picture_ref(image), *image.size, captions, load, repeats)


def _repeats(folder: Path) -> int:
    found = REPEATS.fullmatch(folder.name)
    return max(int(found["repeats"]), 1) if found else 1


def _twice(pictures: Iterable[TrainingPicture]) -> Iterable[str]:
    seen: set[str] = set()
    for one in pictures:
        if one.ref in seen:
            yield one.name
        seen.add(one.ref)


def _named(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return ", ".join(listed[:NAMED]) + more
