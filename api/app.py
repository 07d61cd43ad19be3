"""The application: endpoints, middleware and documents around one service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import msgspec
from fastapi import Depends, FastAPI, Response
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp

from fairlead.api.endpoints import (
    audit,
    budgets,
    configuration,
    decisions,
    evidence,
    feedback,
    health,
    keys,
    prices,
)
from fairlead.api.endpoints.requests import no_unknown_query
from fairlead.api.http import openapi
from fairlead.api.http.docs_page import page
from fairlead.api.http.errors import HANDLERS
from fairlead.api.http.middleware import RequestGuard
from fairlead.api.service.service import Service
from fairlead.api.settings import Settings

START_WAIT_S: Final = 3.0
"""Longest time that the first requests wait for the state; a longer rebuild goes on in the background."""


def create_app(settings: Settings, *, service: Service | None = None) -> ASGIApp:
    """Create the application; its store is opened at once, and closed when the server ends."""
    service = service if service is not None else Service(settings)
    plain: list[BaseRoute] = [*decisions.routes(service), *feedback.routes(service)]
    modules = (health, configuration, evidence, budgets, prices, keys, audit)
    routers = [module.router(service) for module in modules]
    app = FastAPI(
        title="Fairlead",
        version=_version(),
        exception_handlers=HANDLERS,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in routers:
        app.include_router(router, dependencies=[Depends(no_unknown_query)])
    _add_documents(app, [*plain, *(route for router in routers for route in router.routes)])
    # In front of FastAPI, whose own middleware and routing take a tenth of a decision's time.
    router = Router(plain, redirect_slashes=False, default=app, lifespan=_lifespan(service))
    return RequestGuard(router, service)


def _lifespan(service: Service) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        await service.start()
        # Requests that arrive meanwhile wait, which is better than an answer with the default provider.
        await service.engine.wait_until_ready(seconds=START_WAIT_S)
        try:
            yield
        finally:
            await service.stop()

    return lifespan


def _add_documents(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    @app.get("/openapi.json", include_in_schema=False)
    async def document() -> Response:
        return Response(msgspec.json.encode(openapi.document(app, routes)), media_type="application/json")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return Response(page(openapi.document(app, routes)), media_type="text/html", headers=headers)


def _version() -> str:
    try:
        return version("fairlead")
    except PackageNotFoundError:
        return "0"
