"""A data folder that version 0.1 wrote (tests/fixtures/store-0.1), and what must be the same whatever has new names."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

STORE = Path(__file__).parent / "fixtures" / "store-0.1" / "store"
RENAMED = {"merged": "merge"}  # values of 0.1 that have another name, or may get one
PLAIN = {"prompt": "a red apple", "negative_prompt": "leaf", "steps": 4, "guidance_scale": 3.0, "seed": 7}
SCHEDULE = [[0.0, 0.2], [0.5, -3.0]]


def copied(data: Path) -> Path:
    """Make `data` a data folder with a copy of the store; return `data`."""
    shutil.copytree(STORE, data / "store")
    return data


def records(pattern: str) -> list[dict[str, Any]]:
    """The records under these keys, as 0.1 wrote them."""
    found = [json.loads(path.read_text()) for path in sorted(STORE.glob(pattern))]
    assert found, pattern
    return found


def ended() -> list[dict[str, Any]]:
    """The generations that had ended."""
    return [one["generation"] for one in records("generations/*/manifest.json")]


def waiting() -> list[dict[str, Any]]:
    """The generations that had been accepted, and not drawn."""
    return [one["generation"] for one in records("pending/*.json")]


def scheduled(generation: dict[str, Any]) -> bool:
    """Whether this is one of the two with `SCHEDULE`, under whatever name."""
    return any(SCHEDULE in use.values() for use in generation["request"]["adapters"])


def lost(old: Any, new: Any) -> list[Any]:
    """What `old` says and `new` does not say anywhere."""
    return list((Counter(_said(old)) - Counter(_said(new))).elements())


def _said(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for one in value.values() for leaf in _said(one)]
    if isinstance(value, list) and not any(isinstance(one, list) for one in value):
        return [leaf for one in value for leaf in _said(one)]
    return [] if value is None else [RENAMED.get(str(value), str(value))]  # a schedule is said as a whole
