"""Services to compare, each started with its own settings in its own folder."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from app.shared.settings import Settings
from app.supervisor import Service

DEFAULTS, NEITHER = "with affinity and prefetch", "with neither"
OFF = {"affinity_window": 1, "prefetch": 0}


@contextmanager
def service(folder: Path, **settings: int | str) -> Iterator[Service]:
    """A running service whose processes have these settings."""
    variables = {f"RADIATA_{name.upper()}": str(value) for name, value in settings.items()}
    with _environment(variables):
        started = Service(Settings(data_dir=folder, port=0)).running()  # type: ignore[call-arg]
        running = started.__enter__()
    try:
        yield running
    finally:
        started.__exit__(None, None, None)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
