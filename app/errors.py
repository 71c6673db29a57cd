"""Errors on their way out: every one is `application/problem+json` with a stable `code`."""

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from app.shared.errors import RadiataError, Unavailable
from app.shared.schema import Problem

log = structlog.get_logger()

CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 400: "bad_request", 415: "not_json"}
RETRY_AFTER_S = "2"


def install(app: FastAPI) -> None:
    """Teach `app` to answer every error as a problem."""
    app.add_exception_handler(RadiataError, _radiata)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RedisError, _redis)
    app.add_exception_handler(Exception, _unexpected)


def problem(
    status: int, code: str, title: str, detail: str, errors: list[dict[str, Any]] | None = None
) -> JSONResponse:
    """A problem response (RFC 9457); a 503 says when to come back."""
    body = Problem(title=title, status=status, code=code, detail=detail, errors=errors or [])
    headers = {"Retry-After": RETRY_AFTER_S} if status == 503 else None
    return JSONResponse(body.model_dump(), status, headers, media_type="application/problem+json")


async def _radiata(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RadiataError)
    return problem(error.status, error.code, error.title, error.message, list(error.reasons))


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [
        {
            "field": ".".join(str(part) for part in one["loc"] if part != "body") or "body",
            "code": one["type"],
            "message": one["msg"].removeprefix("Value error, "),
        }
        for one in error.errors()
    ]
    detail = "; ".join(f"{one['field']}: {one['message']}" for one in errors[:5])
    return problem(422, "invalid_request", "The request is not valid", detail, errors)


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = CODES.get(error.status_code, f"http_{error.status_code}")
    return problem(error.status_code, code, str(error.detail), f"{error.detail}; see /docs for what is here")


async def _redis(request: Request, error: Exception) -> JSONResponse:
    reason = Unavailable("queue_unavailable", f"the queue does not answer: {error}")
    return await _radiata(request, reason)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected", path=request.url.path, exc_info=error)
    return problem(500, "internal_error", "Internal error", "this is a bug in the service; its log says more")
