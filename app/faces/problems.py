"""Problems in one sentence, for APIs that tell them so; and the status that each has there."""

from collections.abc import Mapping
from typing import Any

from app.http.faults import NAMED

# Told apart by clients or tried again by them: 409 and 422 would be, and 410 and 507 mean nothing there
STATUSES = {422: 400, 409: 400, 410: 404, 507: 503}
# Of a request of ours -> what diffusers and most APIs call it
DIFFUSERS = {"steps": "num_inference_steps", "init_image": "image", "denoise": "strength", "sampler": "scheduler"}


def status_of(status: int) -> int:
    """The status of a problem there."""
    return STATUSES.get(status, status)


def sentence(problem: Mapping[str, Any], theirs: Mapping[str, str]) -> str:
    """Everything that is wrong; theirs: field of a request of ours -> what it is called there."""
    faults = problem.get("errors") or []
    told = [_told(str(one.get("pointer", "")), str(one.get("message", "")), theirs) for one in faults]
    told = list(dict.fromkeys(one for one in told if one))
    more = f"; and {len(told) - NAMED} more" if len(told) > NAMED else ""
    return "; ".join(told[:NAMED]) + more or str(problem.get("detail") or problem.get("title") or "it was refused")


def _told(pointer: str, message: str, theirs: Mapping[str, str]) -> str:
    first, *rest = pointer.strip("/").split("/")
    if first in ("", "query", "header", "path"):
        return message
    return f"{'.'.join((theirs.get(first, first), *rest))}: {message}"
