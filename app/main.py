"""The API, put together: `uvicorn app.main:create_app --factory`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles

from app import errors
from app.deps import build
from app.log import configure
from app.routes import adapters, events, generations, health, images, models, page
from app.shared.settings import Settings

# What comes from outside is data: no page of ours runs a script from elsewhere, whatever a name contains
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
DOCS = ("/docs", "/redoc")  # FastAPI's own pages load their scripts from elsewhere


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application over `settings` (unset: from the environment)."""
    settings = settings or Settings()  # type: ignore[call-arg]
    configure(settings.log_level)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = build(settings)
        yield
        await app.state.service.async_redis.aclose()
        app.state.service.redis.close()

    app = FastAPI(title="Radiata", version=version("radiata"), lifespan=lifespan)
    errors.install(app)
    for part in (generations, events, adapters, images, models, health, page):
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=page.FOLDER), name="static")

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        if not request.url.path.startswith(DOCS):
            response.headers.update(HEADERS)
        return response

    return app
