"""Nobody without a key passes, once the service has one; and nobody whose key is not for what is asked.

A service without a key is for this machine alone, and a proxy on this machine would let others in: what shows that it
came through one is refused, unless `RADIATA_OPEN` says that it may.
"""

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.callers import ANYBODY, CALLER, Caller, Callers, cookie_name
from app.http.errors import problem
from app.http.permissions import Permissions
from app.links import Links
from app.middleware.forwarded import path_here
from app.shared.errors import Forbidden, RadiataError, Unauthorized

PROXIED = ("forwarded", "via", "x-real-ip")  # and whatever begins with X-Forwarded-
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="radiata"'}  # RFC 9110, 11.6.1


class Guard:
    """Answers 401 to whom nobody knows, and 403 to whom may not."""

    def __init__(self, app: ASGIApp, is_open: bool) -> None:
        self._app = app
        self._is_open = is_open
        self._permissions: Permissions | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if self._permissions is None:
            self._permissions = Permissions(scope["app"].routes)
        method, path = scope.get("method", "GET"), path_here(scope)  # a socket begins as a GET
        rule = self._permissions.rule(method, path)
        if rule is not None and not (b"sig=" in scope["query_string"] and await self._is_signed(scope, method, path)):
            try:
                scope[CALLER] = caller = await _admitted(scope, rule)
                if caller is ANYBODY and not self._is_open:
                    _judge_direct(Headers(scope=scope))
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


def _judge_direct(headers: Headers) -> None:
    """Raise Forbidden for what came through a proxy."""
    for name in headers:
        if name in PROXIED or name.startswith("x-forwarded-"):
            raise Forbidden(
                "proxied_without_key",
                f"this came through a proxy (it has {name}), and this service has no key: make one "
                "(`radiata keys add`), or set RADIATA_OPEN=1 if whoever reaches the proxy may use all of it",
            )


async def _admitted(scope: Scope, rule: frozenset[str]) -> Caller:
    callers: Callers = scope["app"].state.service.callers
    cookie = cookie_name(scope["scheme"], scope.get("root_path", ""))
    caller = await callers.caller(Headers(scope=scope), cookie)
    if not caller.scopes & rule:
        needed = " or ".join(sorted(rule))
        raise Forbidden("scope_missing", f"this needs the scope {needed}, and the key {caller.key_id} has not got it")
    return caller
