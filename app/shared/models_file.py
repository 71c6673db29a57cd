"""`models.json` in the data folder: the base models that `radiata models add` has named.

It is written as `RADIATA_MODELS` is: a name, and a source or an object. Where both name a model, the environment is
right: whoever sets a variable for one process means that process. In the environment's absence the bundled model stays.
The file is not called `.env`: that would be read by docker compose and by shells, and belongs to whoever wrote it.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.shared.base_source import read_source
from app.shared.wire.values import NAME_PATTERN

FETCHED = "radiata-fetched.json"  # in a folder that was fetched from a hub: from where, and which files


def fetched_folder(data_dir: Path, name: str) -> Path:
    """Return where what is fetched for a model is kept."""
    return data_dir.resolve() / "models" / name


class ModelsFile:
    """The models that a data folder names; every change is whole and on the disk, or not there."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "models.json"

    def read(self) -> dict[str, Any]:
        """Return what is said of each model; raises ValueError with a sentence that names the file."""
        try:
            models = json.loads(self.path.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise ValueError(f"{self.path} cannot be read: {error.strerror}") from error
        except (RecursionError, ValueError) as error:
            raise ValueError(f"{self.path} is no JSON: {error}") from error
        if not isinstance(models, dict):
            raise ValueError(f"{self.path} is no object: a name and a source for each model")  # noqa: TRY004
        for name, said in models.items():
            try:
                judge_name(name)
                read_source(said)
            except ValueError as error:
                raise ValueError(f"{self.path}: {name!r}: {error}") from error
        return models

    def put(self, name: str, said: str | Mapping[str, Any]) -> None:
        """Name a model, in place of what was said of it; raises ValueError, OSError."""
        judge_name(name)
        read_source(said)
        with self._changed() as models:
            models[name] = said

    def remove(self, name: str) -> bool:
        """Forget a model; say whether it was named here. Raises ValueError, OSError."""
        with self._changed() as models:
            return models.pop(name, None) is not None

    @contextmanager
    def _changed(self) -> Iterator[dict[str, Any]]:
        """Yield the models to be changed; two processes that change them wait for each other."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            models = self.read()
            yield models
            unfinished = self.path.with_suffix(".part")
            with unfinished.open("w") as file:
                json.dump(models, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self.path)
            os.fsync(folder)
        finally:
            os.close(folder)  # and with it the lock


def judge_name(name: str) -> None:
    """Raise ValueError for what no request can name a model."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise ValueError(f"no request can name {name!r}: small letters, digits and . _ - make a model's name")
