"""What is read off a request in a few steps is what FastAPI itself would read, and so is what is wrong with it."""

from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Header, Query, Request, Response
from fastapi.testclient import TestClient
from pydantic import BaseModel

from app import main
from app.http import errors
from app.http.routing import Router, StrictRoute
from app.http.solving import is_plain
from app.shared.wire.generation import GenerationRequest
from app.shared.wire.values import Limit


class Told(BaseModel):
    """Everything that an endpoint was given."""

    given: dict[str, Any]


async def _of_request(request: Request) -> str:
    return request.headers.get("host", "")


Host = Annotated[str, Depends(_of_request)]


def served() -> TestClient:
    """An app with one route of every kind of parameter."""
    router = Router(prefix="/things")

    @router.get("/{name}", response_model=Told)
    async def look(
        request: Request,
        name: str,
        host: Host,
        limit: Annotated[Limit, Query()] = 50,
        before: Annotated[str | None, Query(pattern=r"^[0-9a-f]{4}$")] = None,
        some_key: Annotated[str | None, Header(min_length=2)] = None,
    ) -> Response:
        given = {"name": name, "host": host, "limit": limit, "before": before, "key": some_key, "at": request.url.path}
        return Response(Told(given=given).model_dump_json(), media_type="application/json")

    @router.post("", status_code=201, response_model=Told)
    async def make(body: GenerationRequest, host: Host, dry: bool = False) -> Response:
        given = {"body": body.model_dump(mode="json"), "host": host, "dry": dry}
        return Response(Told(given=given).model_dump_json(), 201, media_type="application/json")

    app = FastAPI(routes=router.routes)
    errors.install(app)
    return TestClient(app, raise_server_exceptions=False)


REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/things/a", {}),
    ("GET", "/things/a?limit=20&before=00ff", {"headers": {"some-key": "xy"}}),
    ("GET", "/things/a?limit=0&before=zz", {"headers": {"some-key": "x"}}),
    ("GET", "/things/a?limit=true&limit=1", {}),
    ("GET", "/things/a?other=1", {}),
    ("GET", "/things/a", {"headers": [("some-key", "xy"), ("some-key", "zz")]}),
    ("GET", "/things/a/b", {}),
    ("PUT", "/things/a", {}),
    ("POST", "/things", {"json": {"prompt": "x", "seed": 7}}),
    ("POST", "/things?dry=maybe", {"json": {"prompt": "", "width": True, "other": 1}}),
    ("POST", "/things", {"json": [1]}),
    ("POST", "/things", {"content": b"{", "headers": {"content-type": "application/json"}}),
    ("POST", "/things", {"content": b"{}", "headers": {"content-type": "text/plain"}}),
    ("POST", "/things", {}),
]


@pytest.mark.parametrize(("method", "path", "given"), REQUESTS)
def test_it_is_as_fastapi_reads_it(
    monkeypatch: pytest.MonkeyPatch, method: str, path: str, given: dict[str, Any]
) -> None:
    quick = served()
    monkeypatch.setattr("app.http.routing.is_plain", lambda _: False)
    slow = served()
    answers = [client.request(method, path, **given) for client in (quick, slow)]
    assert answers[0].status_code == answers[1].status_code
    assert answers[0].json() == answers[1].json()
    assert answers[0].headers == answers[1].headers
    assert quick.get("/openapi.json").json() == slow.get("/openapi.json").json()


def test_the_busy_routes_are_plain() -> None:
    """Where one of them takes something more, all of FastAPI's machinery is back: that is to be meant."""
    routes = [route for part in main.PARTS for route in part.router.routes if isinstance(route, StrictRoute)]
    plain = {f"{method} {one.path}" for one in routes if is_plain(one.dependant) for method in one.methods or ()}
    assert {"POST /v1/generations", "GET /v1/generations", "GET /v1/generations/{generation_id}"} <= plain
