"""The addresses for providers and routes: declared, changed, paused and removed, with preview."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response

from fairlead.api.endpoints.pagination import Paging, page_of
from fairlead.api.endpoints.patch import patch_body
from fairlead.api.endpoints.requests import ANYWHERE, Admin, PreviewQuery, Reader, json_body, problems
from fairlead.api.problems import Problem
from fairlead.api.schemas.base import Page
from fairlead.api.schemas.configuration import ChangeOut, ProviderOut, RouteOut
from fairlead.api.schemas.declarations import ProviderIn, RouteIn
from fairlead.api.service.changes import Resource, provider_answer, providers_seen, route_answer
from fairlead.api.service.service import Service

_PROVIDER = "/providers/{name:path}"  # names of providers may contain slashes
_ROUTE_PATCH = {"budget": {"usd_per_request": 0.003}, "reward_default": None}
PREVIEW = {"model": ChangeOut, "description": "A preview"}


def router(service: Service) -> APIRouter:
    """Build the addresses below /v1/providers and /v1/routes."""
    api = APIRouter(prefix="/v1", responses=ANYWHERE, tags=["configuration"])
    _add_providers(api, service)
    _add_routes(api, service)
    return api


def _add_providers(api: APIRouter, service: Service) -> None:
    providers = Resource(service, "provider", ProviderIn)

    @api.get("/providers", summary="List providers")
    async def list_all(principal: Reader, query: Paging) -> Page[ProviderOut]:
        bodies, cursor = page_of(providers_seen(service, principal), query)
        return Page(items=[provider_answer(service, body, principal) for body in bodies], next_cursor=cursor)

    @api.post(
        "/providers", summary="Create a provider", status_code=201, responses={200: PREVIEW, **problems(409)}
    )
    async def create(
        *,
        principal: Admin,
        query: PreviewQuery,
        body: Annotated[ProviderIn, json_body(ProviderIn)],
        response: Response,
    ) -> ChangeOut:
        response.status_code = query.status_code
        return await providers.create(body, principal, preview=query.preview)

    @api.get(_PROVIDER, summary="Read a provider", responses=problems(404))
    async def read(principal: Reader, name: str) -> ProviderOut:
        seen = providers_seen(service, principal)
        return provider_answer(service, providers.get(name, among=seen), principal)

    @api.patch(_PROVIDER, summary="Change or pause a provider", responses=problems(404, 409))
    async def change(
        *,
        principal: Admin,
        name: str,
        query: PreviewQuery,
        patch: Annotated[dict[str, Any], patch_body(ProviderIn, example={"paused": True})],
    ) -> ChangeOut:
        """Apply a JSON Merge Patch: the fields in it change, and null restores a field's default."""
        return await providers.patch(name, patch, principal, preview=query.preview)

    @api.delete(_PROVIDER, summary="Remove a provider", responses=problems(404, 409))
    async def remove(principal: Admin, name: str, query: PreviewQuery) -> ChangeOut:
        return await providers.remove(name, principal, preview=query.preview)


def _add_routes(api: APIRouter, service: Service) -> None:
    routes = Resource(service, "route", RouteIn)

    @api.get("/routes", summary="List routes")
    async def list_all(principal: Reader, query: Paging) -> Page[RouteOut]:
        visible = {name: body for name, body in routes.all().items() if principal.may_use(name)}
        items, cursor = page_of(visible, query)
        return Page(items=[route_answer(service, body) for body in items], next_cursor=cursor)

    @api.post("/routes", summary="Create a route", status_code=201, responses={200: PREVIEW, **problems(409)})
    async def create(
        *,
        principal: Admin,
        query: PreviewQuery,
        body: Annotated[RouteIn, json_body(RouteIn)],
        response: Response,
    ) -> ChangeOut:
        response.status_code = query.status_code
        return await routes.create(body, principal, preview=query.preview)

    @api.get("/routes/{name}", summary="Read a route", responses=problems(404))
    async def read(principal: Reader, name: str) -> RouteOut:
        if not principal.may_use(name):
            raise Problem("not-found", routes.missing)
        return route_answer(service, routes.get(name))

    @api.patch("/routes/{name}", summary="Change or pause a route", responses=problems(404, 409))
    async def change(
        *,
        principal: Admin,
        name: str,
        query: PreviewQuery,
        patch: Annotated[dict[str, Any], patch_body(RouteIn, example=_ROUTE_PATCH)],
    ) -> ChangeOut:
        """Apply a JSON Merge Patch: the fields in it change, and null restores a field's default."""
        return await routes.patch(name, patch, principal, preview=query.preview)

    @api.delete("/routes/{name}", summary="Remove a route", responses=problems(404, 409))
    async def remove(principal: Admin, name: str, query: PreviewQuery) -> ChangeOut:
        return await routes.remove(name, principal, preview=query.preview)
