"""Problems as fal's client reads them: `{"detail", "error_type"}`; 408, 409 and 429 it would try again."""

from collections.abc import Mapping
from typing import Any

from app.faces.problems import DIFFUSERS, sentence

STATUSES = {409: 400, 410: 404, 507: 503}
THEIRS = {
    **DIFFUSERS,
    "init_image": "image_url",
    "mask_image": "mask_url",
    "count": "num_images",
    "width": "image_size.width",
    "height": "image_size.height",
}


def status_of(status: int) -> int:
    """The status of a problem there."""
    return STATUSES.get(status, status)


def error_of(problem: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a problem there."""
    return {"detail": sentence(problem, THEIRS), "error_type": problem.get("code")}
