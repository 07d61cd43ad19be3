"""Providers and routes: declared, changed, paused and removed, with preview."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from fairlead.api.http.requests import (
    Page,
    Preview,
    StrictRoute,
    answer,
    body_of,
    caller_of,
    paged,
    problems,
    takes,
)
from fairlead.api.problems import Problem
from fairlead.api.schemas.configuration import ChangeOut, ProviderListOut, ProviderOut, RouteListOut, RouteOut
from fairlead.api.schemas.declarations import ProviderIn, RouteIn
from fairlead.api.service.auth import Caller
from fairlead.api.service.changes import make_change, merged, patch_of
from fairlead.api.service.service import Service
from fairlead.api.state.configuration import Change


def router(service: Service) -> APIRouter:
    """The addresses below /v1/providers and /v1/routes."""
    api = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["configuration"])

    def provider_out(body: ProviderIn) -> dict[str, Any]:
        config = service.engine.fold.config
        price = config.price_in_force(body.name)
        routes = [name for name, route in config.routes.items() if body.name in route.providers]
        return {**body.model_dump(mode="json"), "price_id": price and price.id, "routes": routes}

    def route_out(body: RouteIn) -> dict[str, Any]:
        served = service.engine.fold.routes[body.name]
        return {**body.model_dump(mode="json"), "feature_width": served.width}

    _named(api, service, "provider", ProviderIn, ProviderOut, ProviderListOut, provider_out)
    _named(api, service, "route", RouteIn, RouteOut, RouteListOut, route_out)
    return api


def _named(
    api: APIRouter,
    service: Service,
    entity: Any,
    kind: type[Any],
    out: type[Any],
    out_list: type[Any],
    told: Callable[[Any], dict[str, Any]],
) -> None:
    """The addresses of what has a name of its own: list, create, read, change, remove."""
    place = f"/{entity}s"
    # The names of providers may have slashes.
    single = place + ("/{name:path}" if entity == "provider" else "/{name}")

    def held() -> dict[str, Any]:
        found: dict[str, Any] = getattr(service.engine.fold.config, f"{entity}s")
        return found

    def one(name: str, caller: Caller) -> Any:
        if name not in held() or (entity == "route" and not caller.may_route(name)):
            raise Problem("not-found", f"There is no {entity} of this name.")
        return held()[name]

    @api.get(
        place,
        summary=f"List {entity}s",
        response_model=None,
        responses={200: {"model": out_list}, **problems()},
    )
    async def list_all(request: Request, page: Annotated[Page, Query()]) -> Response:
        caller = caller_of(request, "read")
        seen = {name: body for name, body in held().items() if entity != "route" or caller.may_route(name)}
        found = paged(seen, page)
        return answer({**found, "items": [told(item) for item in found["items"]]})

    @api.post(
        place,
        summary=f"Create a {entity}",
        response_model=None,
        status_code=201,
        responses={200: {"model": ChangeOut}, 201: {"model": ChangeOut}, **problems(409)},
        openapi_extra=takes(kind),
    )
    async def create(request: Request, ask: Annotated[Preview, Query()]) -> Response:
        caller = caller_of(request, "admin")
        body = body_of(request, kind)
        async with service.changing:
            if body.name in held():
                raise Problem("conflict", f"There is a {entity} of this name already: change it instead.")
            change = Change(entity, body.name, "put", body.model_dump(mode="json"))
            made = await make_change(service, caller, change, preview=ask.preview)
        return answer(made, status=200 if ask.preview else 201)

    @api.get(
        single,
        summary=f"Read a {entity}",
        response_model=None,
        responses={200: {"model": out}, **problems(404)},
    )
    async def read(request: Request, name: str) -> Response:
        caller = caller_of(request, "read")
        return answer(told(one(name, caller)))

    @api.patch(
        single,
        summary=f"Change or pause a {entity}",
        response_model=None,
        responses={200: {"model": ChangeOut}, **problems(404, 409)},
        openapi_extra=takes(patch_of(kind)),
    )
    async def change(request: Request, name: str, ask: Annotated[Preview, Query()]) -> Response:
        """A JSON Merge Patch: the fields that are given change, null gives a field its default again."""
        caller = caller_of(request, "admin")
        async with service.changing:
            body = merged(request, one(name, caller), kind, "name")
            made = Change(entity, name, "put", body.model_dump(mode="json"))
            return answer(await make_change(service, caller, made, preview=ask.preview))

    @api.delete(
        single,
        summary=f"Remove a {entity}",
        response_model=None,
        responses={200: {"model": ChangeOut}, **problems(404, 409)},
    )
    async def remove(request: Request, name: str, ask: Annotated[Preview, Query()]) -> Response:
        caller = caller_of(request, "admin")
        async with service.changing:
            one(name, caller)
            made = Change(entity, name, "remove", None)
            return answer(await make_change(service, caller, made, preview=ask.preview))
