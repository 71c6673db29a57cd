"""Problems as ComfyUI's clients read them: `{"error": {"type", "message", …}, "node_errors"}`.

`code` is what its second API has for the type; `node_errors` names the input of each node that is wrong.
"""

from collections.abc import Mapping
from typing import Any

# Of its second API, whose clients tell errors apart by their code; every other 422 there is a graph that is wrong
THEIRS = {"image_unknown": "missing_asset"}
KNOWN = (
    "workflow_format_ui",
    "idempotency_key_reuse",
    "metadata_invalid",
    "missing_asset",
    "blob_not_found",
    "hash_mismatch",
)
STATUSES = {409: 400, 410: 404, 415: 400, 422: 400}


def status_of(status: int) -> int:
    """The status of a problem there."""
    return STATUSES.get(status, status)


def error_of(problem: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a problem there."""
    code = str(problem.get("code", "error"))
    message = str(problem.get("detail") or problem.get("title") or code)
    nodes: dict[str, Any] = {}
    for one in problem.get("errors") or ():
        parts = str(one.get("pointer", "")).split("/")
        if len(parts) == 4 and parts[2] == "inputs":
            told = {"type": one["code"], "message": one["message"], "details": parts[3]}
            node = nodes.setdefault(parts[1], {"errors": [], "dependent_outputs": [], "class_type": ""})
            node["errors"].append(told | {"extra_info": {"input_name": parts[3]}})
    error = {"type": code, "code": code, "message": message, "details": message, "extra_info": {}}
    return {"error": error, "node_errors": nodes}


def job_status_of(status: int) -> int:
    """The status of a problem in its second API."""
    return {400: 422, 409: 422, 410: 404, 415: 422}.get(status, status)


def job_error_of(problem: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a problem in its second API; `details` has our own code, and what is wrong with each node."""
    told, status = error_of(problem), job_status_of(int(problem.get("status", 500)))
    error = told["error"]
    own = THEIRS.get(error["code"], error["code"])
    code = own if own in KNOWN or status not in (404, 422) else "not_found" if status == 404 else "invalid_workflow"
    details = {"code": error["code"], "node_errors": told["node_errors"]}
    return {"error": {"code": code, "message": error["message"], "details": details}}
