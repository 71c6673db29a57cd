"""Problems as A1111's clients read them: `{"error", "detail", "body", "errors"}`, with our own status."""

from collections.abc import Mapping
from typing import Any


def status_of(status: int) -> int:
    """The status of a problem there: anything but 200 is an error to its clients."""
    return status


def error_of(problem: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a problem there; all that is wrong is in `errors`, a line each."""
    faults = problem.get("errors") or []
    detail = str(problem.get("detail") or problem.get("title") or "")
    lines = [f"{str(one.get('pointer', '')).strip('/')}: {one.get('message', '')}".removeprefix(": ") for one in faults]
    told = "\n".join(dict.fromkeys(lines)) or detail
    return {"error": str(problem.get("code", "")), "detail": detail, "body": "", "errors": told}
