"""The application: endpoints, guard and documents around one service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp

from fairlead.api import problems
from fairlead.api.endpoints import audit, configuration, decisions, health, keys, outcomes, prices
from fairlead.api.http import openapi
from fairlead.api.http.docs_page import page
from fairlead.api.http.middleware import Guard
from fairlead.api.http.requests import StrictRoute, answer
from fairlead.api.http.shortcuts import SHORT, shortcut
from fairlead.api.service.service import Service
from fairlead.api.settings import Settings

START_WAIT_S: Final = 3.0
"""Longest that the first requests wait for the state; a longer rebuild goes on while they are answered."""


def create_app(settings: Settings, *, service: Service | None = None) -> ASGIApp:
    """The application for these settings; the store is opened at once, and closed when the server ends."""
    behind = service if service is not None else Service(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await behind.start()
        # Whoever asks in the meantime waits to be let in, which is better than the default provider's answer.
        await behind.engine.wait_until_ready(seconds=START_WAIT_S)
        try:
            yield
        finally:
            await behind.stop()

    app = FastAPI(
        title="Fairlead",
        version=_version(),
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app)
    shortcuts: dict[str, StrictRoute] = {}
    parts = (decisions, outcomes, health, configuration, prices, keys, audit)
    for router in [part.router(behind) for part in parts]:
        app.include_router(router)
        for route in router.routes:
            if isinstance(route, StrictRoute) and route.path in SHORT:
                shortcuts[route.path] = route

    @app.get("/openapi.json", include_in_schema=False)
    async def document(request: Request) -> Response:
        return answer(openapi.document(app))

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return Response(page(openapi.document(app)), media_type="text/html", headers=headers)

    # Around everything else, so that the busiest addresses need not go through it.
    return Guard(
        app,
        shortcut=partial(shortcut, shortcuts),
        settings=settings,
        authority=behind.authority,
        load=behind.load,
        allowance=behind.allowance,
        is_full=lambda: behind.is_full,
        observe=behind.metrics.observe,
    )


def _version() -> str:
    try:
        return version("fairlead")
    except PackageNotFoundError:
        return "0"
