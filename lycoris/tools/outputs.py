"""Files and folders that exist complete or not at all: written under a temporary name, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lycoris.errors import Code, Reason, ToolRefused, shown

OF_A_MODEL = "model_index.json"  # a folder without it is never replaced, not even with --force
Named = str | os.PathLike[str]


def refuse_taken(path: Named, force: bool = False) -> None:
    """Raise ToolRefused if there is a file at `path` that may not be replaced, or a folder."""
    path = Path(path)
    if path.is_dir() or (path.exists() and not force):
        raise _exists(path, "is a folder" if path.is_dir() else "exists already: --force replaces it")


@contextmanager
def new_file(path: Named, force: bool = False) -> Iterator[Path]:
    """Yield the path to write to; without an exception it becomes `path`.

    Raises ToolRefused if `path` exists and may not be replaced, before anything is done, or if it cannot be written.
    """
    refuse_taken(path, force)
    path = Path(path)
    temporary = path.with_name(_temporary_name(path))
    _make_room(path)
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Named, source: Path, force: bool = False) -> Iterator[Path]:
    """Yield a new folder to write to; without an exception it becomes `path`.

    source: the folder that is read, which `path` must neither be, hold nor lie in. With force a model's folder is
    replaced, and no other. Raises ToolRefused as `new_file` does.
    """
    path = Path(path)
    ours, theirs = path.resolve(), source.resolve()
    if ours == theirs or ours in theirs.parents or theirs in ours.parents:
        raise _exists(path, "overlaps with the folder that is read")
    if path.exists() and not force:
        raise _exists(path, "exists already: --force replaces it")
    if path.exists() and not (path / OF_A_MODEL).is_file():
        raise _exists(path, f"holds no {OF_A_MODEL}: only a model's folder is ever replaced")
    temporary, old = path.with_name(_temporary_name(path)), path.with_name(_temporary_name(path, "old"))
    _make_room(path)
    try:
        temporary.mkdir()
        yield temporary
        if path.exists():
            path.replace(old)
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _make_room(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def _temporary_name(path: Path, why: str = "partial") -> str:
    return f".{path.name}.{os.getpid()}.{why}"


def _exists(path: Path, message: str) -> ToolRefused:
    return ToolRefused([Reason(Code.EXISTS, shown(str(path)), message)])


def _unwritable(path: Path, error: OSError) -> ToolRefused:
    return ToolRefused([Reason(Code.UNWRITABLE, shown(str(path)), f"cannot be written: {error}")])
