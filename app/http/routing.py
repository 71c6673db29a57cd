"""Routes that take what they say they take: every field once, none that is unknown, each read in one way only.

`Router` stands in for FastAPI's own wherever there are routes: whatever they take (query, headers, JSON, forms) is read
here before FastAPI sees it, and the problems that each of them may answer stand in its documentation.
"""

import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.datastructures import FormData
from starlette.routing import Match
from starlette.types import Scope

from app.http.documentation import Problem
from app.http.faults import fault, named, pointer, refused
from app.http.forms import form_of, parts_of, read_form
from app.http.solving import answered, as_app, is_plain
from app.http.strict_json import parse
from app.shared.errors import WrongType

PROBLEM = "application/problem+json"
JSON_TYPE = re.compile(r"application/([\w.+-]+\+)?json(;\s*charset=\"?utf-?8\"?)?", re.IGNORECASE)

# What any route may answer besides its own, and why
ANYWHERE = {
    401: "It needs a key, as soon as the service has one",
    403: "The key has not the scope that it needs, or another site's page asked for it",
    413: "The body is too large",
    429: "A limit of the caller is reached: `Retry-After` says when to ask again",
    421: "The Host is not one of this service's",
    422: "The request cannot be honoured as it stands; `errors` names every place",
    500: "A bug",
    502: "A stored record cannot be read",
    503: "Redis, storage or a worker is away: try again",
}
BY_NAME = {404: "There is no such thing", 410: "It was there and has been deleted"}
UNKNOWN = {404: "It names something that is not there"}
FULL = {507: "There is no room for it"}
ENDED = {409: "It has ended already"}
REPEATED = {409: "The Idempotency-Key was used for another body"}
WITH_BODY = {400: "The body cannot be read", 415: "The body is of another content type"}


def answers(*more: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """Return problems as FastAPI's `responses` has them: status -> what it means."""
    schema = {"$ref": f"#/components/schemas/{Problem.__name__}"}
    merged = {status: meaning for table in more for status, meaning in table.items()}
    return {
        status: {"description": meaning, "content": {PROBLEM: {"schema": schema}}} for status, meaning in merged.items()
    }


Signed = Annotated[str | None, Query(max_length=64, description="of a signed address: it opens without a key")]


async def _signed(exp: Signed = None, sig: Signed = None) -> None:
    """Take what `app/links.py` writes behind an address."""


SIGNED_ADDRESS = Depends(_signed)  # among the dependencies of a route whose address is signed


class StrictRequest(Request):
    """A request whose body has been read strictly: FastAPI finds it read."""

    read: Any = None

    async def json(self) -> Any:
        """The body, read."""
        return self.read

    async def form(self, **_: Any) -> FormData:  # type: ignore[override]
        """The form, read."""
        return self.read


class StrictRoute(APIRoute):
    """A route that refuses whatever it would not obey."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **given: Any) -> None:
        super().__init__(path, endpoint, **given)
        tables = [ANYWHERE]
        tables += [BY_NAME] if "{" in path else []
        tables += [WITH_BODY] if self.body_field else []
        self.responses = answers(*tables) | self.responses
        if is_plain(self.dependant):
            self.app = as_app(self.get_route_handler())

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request, once it was read strictly."""
        answer = super().get_route_handler()
        route, dependant, plain = self, self.dependant, is_plain(self.dependant)
        form = form_of(parameters(dependant, "body"))
        query, headers = ([one.alias for one in parameters(dependant, part)] for part in ("query", "header"))
        asked = parameters(dependant, "query")
        lists = [one.alias for one in asked if list in parts_of(one.field_info.annotation)]

        async def handle(request: Request) -> Response:
            faults = [*_query(request, query, lists), *_headers(request, headers)]
            if faults:
                raise refused(faults)
            if route.body_field is None:
                return await (answered(request, dependant) if plain else answer(request))
            strict = StrictRequest(request.scope, request.receive)
            if form is None:
                strict.read = await _read_json(strict)
                return await (answered(request, dependant, strict.read) if plain else answer(strict))
            strict.read = await read_form(strict, form)
            try:
                return await answer(strict)
            finally:
                await strict.read.close()  # before the answer: files of a form are not kept longer than it is read

        return handle


class JsonRoute(StrictRoute):
    """A route that stands before another of its path and method, which takes a form: it takes what is sent as JSON."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match where the body is said to be JSON; its own documentation is that of the form's route."""
        match, child = super().matches(scope)
        kind = next((value for name, value in scope.get("headers", ()) if name == b"content-type"), b"")
        return (
            (match, child) if match is Match.FULL and JSON_TYPE.fullmatch(kind.decode("latin-1")) else (Match.NONE, {})
        )


def or_json(model: type[BaseModel]) -> dict[str, Any]:
    """Return what the documentation of a form's route says of the JSON that is taken instead (`openapi_extra`)."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


class Router(APIRouter):
    """FastAPI's router, strict."""

    def __init__(self, **given: Any) -> None:
        super().__init__(route_class=StrictRoute, **given)

    def post_json(self, path: str, **given: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register what answers a POST of JSON where a form is taken too; to be called before the form's."""

        def register(endpoint: Callable[..., Any]) -> Callable[..., Any]:
            self.add_api_route(
                path,
                endpoint,
                methods=["POST"],
                include_in_schema=False,
                route_class_override=JsonRoute,
                **given,
            )
            return endpoint

        return register


def parameters(dependant: Dependant, part: str) -> list[Any]:
    """Return what a route and its dependencies take of a part of the request: `query`, `header`, `body`, …"""
    inner = [one for dependency in dependant.dependencies for one in parameters(dependency, part)]
    return [*getattr(dependant, f"{part}_params"), *inner]


async def _read_json(request: Request) -> Any:
    body = await request.body()
    if not JSON_TYPE.fullmatch(request.headers.get("content-type", "")):
        raise WrongType("not_json", "the body is JSON; send it with Content-Type: application/json")
    return parse(body)


def _query(request: Request, known: list[str], lists: list[str]) -> Iterator[dict[str, Any]]:
    raw = request.scope.get("query_string", b"")
    if not raw:
        return
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        yield fault("/query", "not_a_query", "the query is not name=value pairs of UTF-8; write it so")
        return
    yield from named([name for name, _ in pairs], known, lists, at="query")


def _headers(request: Request, known: list[str]) -> Iterator[dict[str, Any]]:
    for name in known:
        if len(request.headers.getlist(name)) > 1:
            yield fault(pointer(["header", name]), "said_twice", f"{name} is sent twice; send it once")
