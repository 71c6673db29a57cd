"""The session of a page: a key, given once, becomes a cookie that no script can read."""

from datetime import datetime
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel, Field

from app.callers import CALLER, Caller, cookie_name
from app.deps import ServiceDep
from app.http.places import Place, Prefix
from app.http.routing import Router, answers
from app.shared.errors import Conflict
from app.shared.wire.key import Scope
from app.shared.wire.values import Owner, Wire

router = Router(prefix="/v1/session", tags=["session"])


class SentKey(Wire):
    """A key as it was shown when it was made."""

    key: str = Field(min_length=1, max_length=200)


class Known(BaseModel):
    """Whom a request comes from, and what they may do."""

    owner: Owner
    scopes: list[Scope]


class Session(Known):
    """What the cookie stands for, and until when."""

    ends_at: datetime


@router.post("", status_code=201, responses=answers({409: "No request needs a key here"}))
async def begin(body: SentKey, service: ServiceDep, request: Request, response: Response, place: Prefix) -> Session:
    """Set a cookie that stands for a key for a week, or as long as the key does; only pages of this service send it."""
    await service.callers.ring()
    if not service.callers.needed:
        raise Conflict("no_keys", "this service has no keys, and needs none: leave it out")
    record, cookie, ends_at = await service.callers.begin_session(body.key)
    response.set_cookie(value=cookie, expires=ends_at, **_cookie(request, place))
    return Session(owner=record.owner, scopes=record.scopes, ends_at=ends_at)


@router.get("")
async def look(service: ServiceDep, request: Request) -> Known:
    """What whoever asks may do, by their key or session; everything where the service has no keys."""
    caller: Caller = request.scope[CALLER]
    return Known(owner=service.owner, scopes=sorted(caller.scopes))


@router.delete("", status_code=204)
async def end(request: Request, place: Prefix) -> Response:
    """Have the browser forget the cookie."""
    response = Response(status_code=204)
    response.delete_cookie(**_cookie(request, place))
    return response


def _cookie(request: Request, place: Place) -> dict[str, Any]:
    """What a cookie of a session is called, and who sends it."""
    scheme = request.url.scheme
    name, path = cookie_name(scheme, place.prefix), place.prefix or "/"
    return {"key": name, "path": path, "secure": scheme == "https", "httponly": True, "samesite": "strict"}
