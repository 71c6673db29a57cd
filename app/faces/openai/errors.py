"""Problems as OpenAI's clients read them: `{"error": {"message", "type", "param", "code"}}`, told apart by status."""

from collections.abc import Mapping
from typing import Any

from app.faces.openai.request import THEIRS

CODES = {"model_unknown": "model_not_found", "adapter_unknown": "model_not_found", "generation_canceled": "canceled"}


def error_of(problem: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a problem there."""
    code, status = str(problem.get("code", "")), int(problem.get("status", 500))
    faults = problem.get("errors") or [{}]
    field = str(faults[0].get("pointer", "")).strip("/").split("/")[0]
    kind = "server_error" if status >= 500 else "invalid_request_error"
    message = str(problem.get("detail") or problem.get("title") or code)
    error = {"message": message, "type": kind, "param": THEIRS.get(field, field) or None, "code": CODES.get(code, code)}
    return {"error": error}
