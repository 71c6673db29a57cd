"""Nobody without a key passes, once the service has one; and nobody whose key is not for what is asked."""

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.callers import CALLER, Caller, Callers
from app.http.errors import problem
from app.http.permissions import Permissions
from app.links import Links
from app.middleware.forwarded import path_here
from app.shared.errors import Forbidden, RadiataError, Unauthorized

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="radiata"'}  # RFC 9110, 11.6.1


class Guard:
    """Answers 401 to whom nobody knows, and 403 to whom may not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._permissions: Permissions | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._permissions is None:
            self._permissions = Permissions(scope["app"].routes)
        method, path = scope["method"], path_here(scope)
        rule = self._permissions.rule(method, path)
        if rule is not None and not (b"sig=" in scope["query_string"] and await self._is_signed(scope, method, path)):
            try:
                scope[CALLER] = await _admitted(scope["app"].state.service.callers, Headers(scope=scope), rule)
            except RadiataError as error:
                own = CHALLENGE if isinstance(error, Unauthorized) else None
                refusal = problem(error.status, error.code, error.title, error.message, headers=own)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _is_signed(self, scope: Scope, method: str, path: str) -> bool:
        """Whether its address opens it, whoever asks."""
        assert self._permissions is not None
        signed = self._permissions.may_be_signed(method, path)
        links: Links = scope["app"].state.service.links
        return signed and await run_in_threadpool(links.opens, path, scope["query_string"])


async def _admitted(callers: Callers, headers: Headers, rule: frozenset[str]) -> Caller:
    caller = await callers.caller(headers)
    if not caller.scopes & rule:
        needed = " or ".join(sorted(rule))
        raise Forbidden("scope_missing", f"this needs the scope {needed}, and the key {caller.key_id} has not got it")
    return caller
