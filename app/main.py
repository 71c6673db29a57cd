"""The API, put together: `uvicorn app.main:create_app --factory`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version
from threading import Thread

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool

from app.deps import build
from app.faces.a1111 import lists as a1111_lists
from app.faces.a1111 import routes as a1111
from app.faces.comfy import jobs as comfy_jobs
from app.faces.comfy import routes as comfy
from app.faces.comfy import socket as comfy_socket
from app.faces.fal import routes as fal
from app.faces.hf import routes as hf
from app.faces.mcp import routes as mcp
from app.faces.openai import routes as openai
from app.faces.replicate import routes as replicate
from app.http import errors
from app.http.documentation import documented
from app.middleware.stack import surround
from app.routes import (
    adapters,
    datasets,
    events,
    generations,
    health,
    images,
    models,
    page,
    recipes,
    session,
    trainings,
    uploads,
    usage,
    webhooks,
    workers,
)
from app.shared import tracing
from app.shared.audit import Audit
from app.shared.errors import Unavailable
from app.shared.log import configure
from app.shared.settings import Settings, serving_settings

NO_TELEMETRY = {"tracing": False, "metrics": False, "logs": False}  # FastAPI looks for one at each request otherwise
FACES = (openai, hf, a1111, a1111_lists, comfy, comfy_jobs, comfy_socket, mcp, replicate, fal)
PARTS = (
    generations,
    events,
    adapters,
    recipes,
    images,
    datasets,
    uploads,
    usage,
    trainings,
    webhooks,
    models,
    workers,
    session,
    health,
    page,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application over `settings` (unset: from the environment)."""
    settings = settings or serving_settings()
    configure(settings.log_level, settings.log_prompts)
    tracing.configure(settings, "api")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = build(settings)
        with suppress(Unavailable):
            await app.state.service.callers.ring()  # so that the first request does not wait for it
            await run_in_threadpool(Audit(app.state.service.storage).started, settings)
        app.state.service.courier.start()
        Thread(target=app.state.service.ledger.following.begin, daemon=True, name="index").start()
        async with mcp.opened(app):
            yield
        await run_in_threadpool(app.state.service.courier.stop)
        await app.state.service.hub.aclose()
        await app.state.service.scripts.aclose()
        await app.state.service.async_redis.aclose()
        app.state.service.redis.close()

    # The routes themselves: a router that is included is asked twice, and finds for itself what it asked its routes
    routes = [route for part in (*PARTS, *FACES) for route in part.router.routes]
    app: FastAPI = FastAPIOffline(
        title="Radiata", version=version("radiata"), lifespan=lifespan, routes=routes, telemetry=NO_TELEMETRY
    )
    errors.install(app)
    app.openapi = partial(documented, app)  # type: ignore[method-assign]
    surround(app, settings)

    return app
