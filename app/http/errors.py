"""Errors on their way out: every one is `application/problem+json` with a stable `code`."""

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app.http.faults import detail, dotted, fault, pointer
from app.http.invalid import of_validation
from app.http.standing import refusal_headers
from app.middleware.request_ids import HEADER
from app.shared.errors import NoRoom, RadiataError, TooMany, Unavailable
from app.shared.log import request_id
from app.shared.metrics import of_refusal, tally
from app.shared.storage import FULL

log = structlog.get_logger()

CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 400: "bad_request", 415: "not_json"}
RETRY_AFTER_S = "2"


def install(app: FastAPI) -> None:
    """Teach `app` to answer every error as a problem."""
    app.add_exception_handler(RadiataError, radiata)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RedisError, _redis)
    app.add_exception_handler(OSError, _system)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _unexpected)


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    errors: Sequence[Mapping[str, Any]] = (),
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """A problem response (RFC 9457); a 503 says when to come back, a 4xx always what in the request it is about."""
    faults = [_complete(one) for one in errors] or [fault("", code, detail)] * (400 <= status < 500)
    body = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail, "errors": faults}
    body |= members or {}
    tally(of_refusal(status))
    own = {"Retry-After": RETRY_AFTER_S} if status == 503 else {}
    return JSONResponse(body, status, {**own, **(headers or {})}, media_type="application/problem+json")


def _complete(reason: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of `errors` with its place: what is wrong inside of an upload is at its file."""
    if "pointer" not in reason:
        return fault("/file", str(reason.get("code", "")), str(reason.get("message", ""))) | dict(reason)
    return {**reason, "field": dotted(str(reason["pointer"]))}


async def radiata(request: Request, error: Exception) -> JSONResponse:
    """The answer to an error of ours."""
    assert isinstance(error, RadiataError)
    reasons = error.reasons
    if not reasons and error.status in (404, 410) and request.path_params:
        reasons = (fault(pointer(["path", next(iter(request.path_params))]), error.code, error.message),)
    own = refusal_headers(error.standing) if isinstance(error, TooMany) else {}
    if error.retry_after_s is not None:
        own = {"Retry-After": str(error.retry_after_s), **own}
    return problem(error.status, error.code, error.title, error.message, reasons, own, error.members)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = of_validation(request, error)
    return problem(422, "invalid_request", "The request is not valid", detail(faults), faults)


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = CODES.get(error.status_code, f"http_{error.status_code}")
    sentence = f"{error.detail}; see /docs for what is here"
    return problem(error.status_code, code, str(error.detail), sentence, headers=error.headers)


async def _redis(request: Request, error: Exception) -> JSONResponse:
    reason = Unavailable("queue_unavailable", f"the queue does not answer: {error}")
    return await radiata(request, reason)


async def _system(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OSError)
    if error.errno not in FULL:
        raise error
    # Storage says so itself: what else a request writes is an upload, on its way
    folder = tempfile.gettempdir()
    full = NoRoom("no_room", f"{folder}, where uploads wait, is full: free some of it, or set TMPDIR to another folder")
    return await radiata(request, full)


async def _left(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # nobody is there to read it, and nothing went wrong here


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected", path=request.url.path, exc_info=error)
    headers = {HEADER: request_id()}  # what stands around the routes has no part in this answer
    return problem(
        500, "internal_error", "Internal error", "this is a bug in the service; its log says more", (), headers
    )
