"""Which caption belongs to which picture, told by the names of a dataset's files alone.

Three ways of writing captions are read, and may be mixed: a text beside the picture (`1.png`, `1.txt`), a table of a
folder (`metadata.jsonl` or `metadata.csv` with `file_name` and `text`: Hugging Face's imagefolder), and the name of a
folder (`10_word`: kohya's, pictures that are seen ten times and whose caption is the word where there is no other).
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from app.shared.text import no_control_characters
from app.shared.wire.dataset import MAX_CAPTION, MAX_REPEATS, CaptionSource

PICTURES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".avif"))
TEXTS = frozenset((".txt", ".caption"))
TABLES = frozenset(("metadata.jsonl", "metadata.csv"))
FILE, CAPTIONS = "file_name", ("text", "caption")  # columns of a table; of the second, the first that is there
REPEATED = re.compile(r"(?P<times>[1-9][0-9]{0,4})_(?P<word>.*)")
Wrong = dict[str, str]  # file -> why


class _NoTable(ValueError):
    """A file of captions that is no table of them."""


@dataclass(frozen=True)
class Placed:
    """A picture's file with what is said of it."""

    name: str
    caption: str | None
    source: CaptionSource
    repeats: int


@dataclass
class Layout:
    """The pictures of a dataset, and what of its files belongs to none."""

    pictures: list[Placed] = field(default_factory=list)
    orphaned: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    wrong: Wrong = field(default_factory=dict)


def is_text(name: str) -> bool:
    """Tell whether a file may hold captions, so that its bytes are needed for a layout."""
    path = PurePosixPath(name)
    return path.suffix.lower() in TEXTS or path.name.lower() in TABLES


def layout_of(names: list[str], texts: Mapping[str, bytes], default: str | None) -> Layout:
    """Return which caption belongs to which picture.

    names: as PurePosixPath writes them; texts: of every file that may hold captions, its bytes.
    """
    found = Layout()
    default = None if default is None else default.strip()  # as every other caption is
    paths = {name: PurePosixPath(name) for name in sorted(names)}
    pictures = {name: path for name, path in paths.items() if path.suffix.lower() in PICTURES}
    found.ignored = [name for name in paths if name not in pictures and not is_text(name)]
    stems: dict[PurePosixPath, list[str]] = {}
    for name, path in pictures.items():
        stems.setdefault(path.with_suffix(""), []).append(name)
    said: dict[str, dict[str, str]] = {}  # picture -> file that captions it -> caption
    for name in filter(is_text, paths):
        captions = _captions(name, paths[name], stems, texts[name], found)
        for picture, caption in captions.items():
            if picture in pictures:
                said.setdefault(picture, {})[name] = caption
            else:
                found.orphaned.append(name if paths[name].suffix.lower() in TEXTS else f"{name}: {picture}")
    for name, path in pictures.items():
        captions = said.get(name, {})
        if len(set(captions.values())) > 1:
            found.wrong[name] = f"has several captions ({', '.join(sorted(captions))}): leave one of them"
        found.pictures.append(_placed(name, path, captions, default, found.wrong))
    return found


def _captions(
    name: str, path: PurePosixPath, stems: Mapping[PurePosixPath, list[str]], data: bytes, found: Layout
) -> dict[str, str]:
    """Return the captions in a file by picture; a text's own picture is the one of its stem."""
    try:
        text = no_control_characters(data.decode("utf-8-sig").replace("\r\n", "\n"))
        if path.name.lower() in TABLES:
            return {str(path.parent / file): caption for file, caption in _rows(path, text)}
    except UnicodeDecodeError as error:
        found.wrong[name] = f"is not UTF-8 at byte {error.start}"
        return {}
    except (ValueError, csv.Error) as error:
        found.wrong[name] = str(error)
        return {}
    if len(text) > MAX_CAPTION:
        found.wrong[name] = f"is {len(text)} characters long; at most {MAX_CAPTION} are taken"
        return {}
    owners = stems.get(path.with_suffix(""), [])
    if len(owners) > 1:
        found.wrong[name] = f"may be of {' or of '.join(owners)}: name one of them otherwise"
        return {}
    return {owners[0] if owners else name: text.strip()}


def _rows(path: PurePosixPath, text: str) -> Iterator[tuple[str, str]]:
    """Yield file and caption of each row of a table; raise ValueError for what is none."""
    if path.suffix.lower() == ".csv":
        rows = list(csv.DictReader(io.StringIO(text), strict=True)) if text else []
    else:
        rows = [_object(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    seen: set[str] = set()
    for number, row in enumerate(rows, 1):
        file = row.get(FILE)
        caption = next((row[column] for column in CAPTIONS if column in row), None)
        if not isinstance(file, str) or not isinstance(caption, str):
            raise _NoTable(f"row {number} has not both {FILE!r} and {CAPTIONS[0]!r} as texts")
        file = str(PurePosixPath(file))
        if file in seen:
            raise ValueError(f"row {number} names {file!r} a second time")
        if len(caption) > MAX_CAPTION:
            long = f"the caption of {file!r}, in row {number}, is {len(caption)} characters long"
            raise ValueError(f"{long}; at most {MAX_CAPTION} are taken")
        seen.add(file)
        yield file, no_control_characters(caption.strip())


def _object(number: int, line: str) -> dict[str, object]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise _NoTable(f"line {number} is no JSON object")
    return found


def _placed(name: str, path: PurePosixPath, captions: Mapping[str, str], default: str | None, wrong: Wrong) -> Placed:
    folder = next((one for parent in path.parents if (one := REPEATED.fullmatch(parent.name))), None)
    repeats = int(folder["times"]) if folder else 1
    if repeats > MAX_REPEATS:
        wrong[name] = f"is seen {repeats} times an epoch, as its folder says; at most {MAX_REPEATS}"
        repeats = MAX_REPEATS
    if captions:
        file, caption = next(iter(captions.items()))
        table = PurePosixPath(file).name.lower() in TABLES
        return Placed(name, caption, "metadata" if table else "file", repeats)
    if folder and folder["word"].strip():
        return Placed(name, folder["word"].strip(), "folder", repeats)
    return Placed(name, default, "missing" if default is None else "default", repeats)
