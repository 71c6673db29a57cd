"""What is wrong with a request, place by place: where, a code, a sentence, and what may stand there instead.

A place is a pointer (RFC 6901) into the body, a form's fields being those of an object; outside of the body it begins
with `/query/`, `/header/` or `/path/`, which no field of a body is called. What is allowed is read off the API's own
documentation of the route, so the two cannot differ.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from app.shared.errors import BadRequest
from app.shared.old_records import NEW_NAMES

OUTSIDE = ("query", "header", "path", "cookie")  # of the body
MOST = 64  # faults of one request that are told
NAMED = 5  # of them in the sentence
LONGEST = 80  # characters of a word from outside that a sentence repeats
LONGEST_POINTER = 512
LIMITS = (
    *("type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "pattern", "minItems", "maxItems", "maxProperties"),
)
Allowed = Sequence[Any] | Mapping[str, Any] | None


def fault(pointer: str, code: str, message: str, allowed: Allowed = None) -> dict[str, Any]:
    """Return one entry of a problem's `errors`; allowed: a list of values, or limits in JSON Schema's words."""
    return {"pointer": pointer, "code": code, "message": message, "allowed": allowed}


def pointer(path: Iterable[str | int]) -> str:
    """Return the JSON pointer (RFC 6901) to a place; what no text may hold is written out."""
    steps = ("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return "".join(steps).encode("utf-8", "backslashreplace").decode()[:LONGEST_POINTER]


def said(word: str) -> str:
    """Return a word from outside as a sentence may repeat it."""
    return repr(word if len(word) <= LONGEST else word[:LONGEST] + "…")


def meant(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown word: the one that may have been meant, or nothing."""
    near = get_close_matches(word[:LONGEST], list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def named(
    names: Iterable[str], known: Iterable[str], lists: Iterable[str] = (), at: str = ""
) -> Iterator[dict[str, Any]]:
    """Yield what is wrong with the names of fields: unknown ones, and those said twice that are no lists.

    at: the part of the request that they are of, where it is not the body.
    """
    allowed = sorted(known)
    for name, times in Counter(names).items():
        place = pointer([at, name] if at else [name])
        if name not in allowed:
            yield fault(place, "extra_forbidden", f"there is no field {said(name)} here{meant(name, allowed)}", allowed)
        elif times > 1 and name not in lists:
            yield fault(place, "said_twice", f"{name!r} is said {times} times; say it once")


def detail(faults: Sequence[Mapping[str, Any]]) -> str:
    """Return the sentence for people about all of them."""
    more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
    return "; ".join(f"{dotted(one['pointer'])}: {one['message']}" for one in faults[:NAMED]) + more


def dotted(place: str) -> str:
    """Return a pointer as people write a place: `adapters.0.strength`."""
    return place[1:].replace("/", ".") or "body"


def refused(faults: Sequence[Mapping[str, Any]], code: str = "invalid_request") -> BadRequest:
    """Return the refusal of a request for all of these."""
    return BadRequest(code, detail(faults), reasons=[dict(one) for one in faults])


def of_validation(request: Request, error: RequestValidationError) -> list[dict[str, Any]]:
    """Return the faults that pydantic found in a request of a route."""
    found = []
    operation = _operation(request)
    for one in error.errors()[:MOST]:
        part, *path = one["loc"]
        path = [step for step in path if step != "[key]"]
        message, code = str(one["msg"]).removeprefix("Value error, "), one["type"]
        schema = _documented(request.app.openapi(), operation, part, path)
        allowed = _allowed(schema)
        if code == "extra_forbidden":
            parent = _documented(request.app.openapi(), operation, part, path[:-1])
            allowed = sorted(parent.get("properties", {}))
            name = str(path[-1])
            message = f"there is no field {said(name)}{_renamed(name, allowed) or meant(name, allowed)}"
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
    return of_path.get(request.method.lower(), {})


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
