"""Problems as Replicate's client reads them: `title`, `detail` and `status`, the detail in its own fields' names."""

from collections.abc import Mapping
from typing import Any

from app.faces.problems import DIFFUSERS, sentence

THEIRS = {
    **DIFFUSERS,
    "count": "num_outputs",
    "denoise": "prompt_strength",
    "mask_image": "mask",
    "quality": "output_quality",
}


def status_of(status: int) -> int:
    """The status of a problem there: the same, but that what was deleted is not there."""
    return 404 if status == 410 else status


def error_of(problem: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a problem there."""
    return {**problem, "status": status_of(int(problem.get("status", 500))), "detail": sentence(problem, THEIRS)}
