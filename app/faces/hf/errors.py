"""Problems as Hugging Face's client reads them: `{"error", "error_type"}`, told apart by status."""

from collections.abc import Mapping
from typing import Any

from app.faces.problems import DIFFUSERS, sentence

THEIRS = {**DIFFUSERS, "init_image": "inputs"}


def error_of(problem: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a problem there."""
    return {"error": sentence(problem, THEIRS), "error_type": problem.get("code")}
