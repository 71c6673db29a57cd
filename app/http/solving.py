"""The arguments of an endpoint, read off a request in few steps where few are enough.

FastAPI keeps two stacks of things to close for each request, asks of each dependency anew what kind of function it is,
and makes an answer to be filled in. An endpoint that is async, answers with a `Response` of its own, and whose
dependencies take the request alone needs none of that: its fields are read, and told when they are wrong, by FastAPI's
own functions for one part of a request, and FastAPI goes on writing the documentation.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, get_type_hints

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_body_to_args, request_params_to_args
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from pydantic.fields import FieldInfo
from starlette.types import ASGIApp, Receive, Scope, Send

Answer = Callable[[Request], Awaitable[Response]]

PARTS = {"path_params": "path_params", "query_params": "query_params", "header_params": "headers"}  # of the request
OTHER = (
    *("cookie_params", "websocket_param_name", "http_connection_param_name", "response_param_name"),
    *("background_tasks_param_name", "security_scopes_param_name"),
)


def is_plain(dependant: Dependant) -> bool:
    """Tell whether an endpoint needs none of what is left out here."""
    call = dependant.call
    own = inspect.iscoroutinefunction(call) and _is_response(get_type_hints(call).get("return"))
    forms = any(isinstance(one.field_info, Form) for one in dependant.body_params)
    simple = all(map(_is_of_request_alone, dependant.dependencies)) and not any(map(_is_a_field, _parameters(call)))
    return own and simple and not forms and not any(getattr(dependant, name) for name in OTHER)


def _parameters(call: Callable[..., Any] | None) -> list[inspect.Parameter]:
    return list(inspect.signature(call).parameters.values()) if call else []


def _is_a_field(parameter: inspect.Parameter) -> bool:
    """Tell whether FastAPI's description of a parameter stands where its default should."""
    return isinstance(parameter.default, FieldInfo)


def _is_response(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, Response)


def _is_of_request_alone(dependency: Dependant) -> bool:
    takes = [one.name for one in _parameters(dependency.call)]
    return inspect.iscoroutinefunction(dependency.call) and takes == [dependency.request_param_name]


async def answered(request: Request, dependant: Dependant, body: Any = None) -> Response:
    """The answer of a plain endpoint; body: the JSON value of the request. Raises RequestValidationError."""
    assert dependant.call is not None
    values: dict[str, Any] = {}
    errors: list[Any] = []
    for one in dependant.dependencies:
        values[one.name or ""] = await one.call(request)  # type: ignore[misc]
    for fields, part in PARTS.items():
        if known := getattr(dependant, fields):
            sent = getattr(request, part)
            # What is not sent is as the function itself has it by default: FastAPI copies each default, deep, each time
            wanted = [one for one in known if one.alias in sent or one.field_info.is_required()]
            found, wrong = request_params_to_args(wanted, sent)
            values |= found
            errors += wrong
    if dependant.body_params:
        found, wrong = await request_body_to_args(dependant.body_params, body, embed_body_fields=False)
        values |= found
        errors += wrong
    if errors:
        raise RequestValidationError(errors, body=body)
    if dependant.request_param_name:
        values[dependant.request_param_name] = request
    return await dependant.call(**values)


def as_app(answer: Answer) -> ASGIApp:
    """An ASGI application that answers so; what is raised goes to the error handlers."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await answer(Request(scope, receive, send))
        await response(scope, receive, send)

    return app
