"""Faults that pydantic finds in a request, in the words of `app.http.faults`.

The values and limits that are allowed are read off the API's own documentation of the route, so the two cannot differ.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from app.http.faults import Allowed, fault, meant, pointer, quoted
from app.shared.old_records import NEW_NAMES
from app.shared.wire.forms import FORMS

OUTSIDE = ("query", "header", "path", "cookie")  # of the body
MOST = 64  # faults of one request that are listed
LIMITS = (
    *("type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "pattern", "minItems", "maxItems", "maxProperties"),
)


def of_validation(request: Request, error: RequestValidationError) -> list[dict[str, Any]]:
    """Return the faults that pydantic found in a request of a route."""
    found = []
    operation = _operation(request)
    for one in error.errors()[:MOST]:
        part, *path = one["loc"]
        path = [step for step in path if step != "[key]"]
        message, code = str(one["msg"]).removeprefix("Value error, "), one["type"]
        if code == "string_pattern_mismatch":
            message = FORMS.get(one["ctx"]["pattern"], "this is not written as it has to be; `allowed` has the pattern")
        schema = _documented(request.app.openapi(), operation, part, path)
        allowed = _allowed(schema)
        if code == "extra_forbidden":
            parent = _documented(request.app.openapi(), operation, part, path[:-1])
            allowed = sorted(parent.get("properties", {}))
            name = str(path[-1])
            message = f"there is no field {quoted(name)}{_renamed(name, allowed) or meant(name, allowed)}"
        place = [part, *path] if part in OUTSIDE else path
        found.append(fault(pointer(place), code, message, allowed))
    return found


def _renamed(name: str, known: Sequence[str]) -> str:
    """Return the end of a sentence about a name of version 0.1: what it is called now; nothing for other names."""
    return f"; since version 0.2 it is called {NEW_NAMES[name]!r}" if NEW_NAMES.get(name) in known else ""


def _operation(request: Request) -> Mapping[str, Any]:
    """Return what the documentation says of the route of a request."""
    path = getattr(request.scope.get("route"), "path_format", "")
    of_path = request.app.openapi()["paths"].get(path, {})
    operation = of_path.get(request.method.lower(), {})
    contents = operation.get("requestBody", {}).get("content", {})
    said = request.headers.get("content-type", "").partition(";")[0]
    return operation | {"requestBody": {"content": {said: contents[said]}}} if said in contents else operation


def _documented(document: Mapping[str, Any], operation: Mapping[str, Any], part: str, path: Sequence[Any]) -> Any:
    """Return the schema of a place in a request, or an empty one."""
    if part in OUTSIDE:
        of_name = (one["schema"] for one in operation.get("parameters", ()) if path and one["name"] == path[0])
        return _plain(document, next(of_name, {}))
    contents = list(operation.get("requestBody", {}).get("content", {}).values())
    schema = _plain(document, contents[0].get("schema", {})) if contents else {}
    for step in path:
        if isinstance(step, int):
            fixed = schema.get("prefixItems", [])
            schema = fixed[step] if step < len(fixed) else schema.get("items", {})
        else:
            more = schema.get("additionalProperties")
            schema = schema.get("properties", {}).get(step, more if isinstance(more, dict) else {})
        schema = _plain(document, schema)
    return schema


def _plain(document: Mapping[str, Any], schema: Any) -> Any:
    """Return a schema without references, and of one that may be null the other half."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    others = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    return _plain(document, others[0]) if len(others) == 1 else schema


def _allowed(schema: Mapping[str, Any]) -> Allowed:
    if "enum" in schema:
        return schema["enum"]
    return {word: schema[word] for word in LIMITS if word in schema} or None
