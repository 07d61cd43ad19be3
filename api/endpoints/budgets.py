"""The addresses below /v1/budgets: spending limits that several routes share."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response

from fairlead.api.endpoints.configuration import PREVIEW
from fairlead.api.endpoints.pagination import Paging, page_of
from fairlead.api.endpoints.patch import patch_body
from fairlead.api.endpoints.requests import ANYWHERE, Admin, PreviewQuery, Reader, json_body, problems
from fairlead.api.problems import Problem
from fairlead.api.schemas.base import Page
from fairlead.api.schemas.budgets import SharedBudgetIn, SharedBudgetOut
from fairlead.api.schemas.configuration import ChangeOut
from fairlead.api.service.changes import Resource
from fairlead.api.service.route_state import shared_budget_answer, sharing_routes
from fairlead.api.service.service import Service


def router(service: Service) -> APIRouter:
    """Build the addresses below /v1/budgets."""
    api = APIRouter(prefix="/v1", responses=ANYWHERE, tags=["configuration"])
    budgets = Resource(service, "budget", SharedBudgetIn)
    _add_reads(api, service, budgets)
    _add_changes(api, budgets)
    return api


def _add_reads(api: APIRouter, service: Service, budgets: Resource[SharedBudgetIn]) -> None:
    @api.get("/budgets", summary="List shared budgets")
    async def list_budgets(principal: Reader, query: Paging) -> Page[SharedBudgetOut]:
        """Those of whose routes the key may use all."""
        visible = {
            name: body
            for name, body in budgets.all().items()
            if all(map(principal.may_use, sharing_routes(service, body)))
        }
        items, cursor = page_of(visible, query)
        return Page(items=[shared_budget_answer(service, body) for body in items], next_cursor=cursor)

    @api.get("/budgets/{name}", summary="Read a shared budget", responses=problems(404))
    async def read_budget(principal: Reader, name: str) -> SharedBudgetOut:
        body = budgets.get(name)
        if not all(map(principal.may_use, sharing_routes(service, body))):
            raise Problem("not-found", budgets.missing)
        return shared_budget_answer(service, body)


def _add_changes(api: APIRouter, budgets: Resource[SharedBudgetIn]) -> None:
    @api.post(
        "/budgets",
        summary="Create a shared budget",
        status_code=201,
        responses={200: PREVIEW, **problems(409)},
    )
    async def create_budget(
        *,
        principal: Admin,
        query: PreviewQuery,
        body: Annotated[SharedBudgetIn, json_body(SharedBudgetIn)],
        response: Response,
    ) -> ChangeOut:
        """Its account begins with the next request."""
        response.status_code = query.status_code
        return await budgets.create(body, principal, preview=query.preview)

    @api.patch("/budgets/{name}", summary="Change a shared budget", responses=problems(404, 409))
    async def change_budget(
        *,
        principal: Admin,
        name: str,
        query: PreviewQuery,
        patch: Annotated[dict[str, Any], patch_body(SharedBudgetIn, example={"usd": 600.0})],
    ) -> ChangeOut:
        """Apply a JSON Merge Patch: the fields in it change, and null restores a field's default."""
        return await budgets.patch(name, patch, principal, preview=query.preview)

    @api.delete("/budgets/{name}", summary="Remove a shared budget", responses=problems(404, 409))
    async def remove_budget(principal: Admin, name: str, query: PreviewQuery) -> ChangeOut:
        return await budgets.remove(name, principal, preview=query.preview)
