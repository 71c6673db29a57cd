"""What a page of docs/faces/ says: the fields of its tables, and its snippets."""

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel

PAGES = Path(__file__).parents[3] / "docs" / "faces"
ROW = re.compile(r"^\| ((?:`[a-z_.]+`(?:, )?)+) \|", re.MULTILINE)


def told(page: str) -> set[str]:
    """The fields that have a line in a table of a page."""
    return {name for row in ROW.findall((PAGES / page).read_text("utf-8")) for name in re.findall("`([a-z_.]+)`", row)}


def fields(kind: type[BaseModel]) -> set[str]:
    """The fields of a request, as another API calls them."""
    return {one.alias or name for name, one in kind.model_fields.items()}


def run(page: str, instead: dict[str, str], number: int = 0) -> dict[str, Any]:
    """Run a Python snippet of a page with some of its words replaced; what it has named."""
    snippet = re.findall(r"```python\n(.*?)```", (PAGES / page).read_text("utf-8"), re.DOTALL)[number]
    for word, other in instead.items():
        assert word in snippet, word
        snippet = snippet.replace(word, other)
    names: dict[str, Any] = {}
    exec(snippet, names)
    return names
