"""The addresses below /v1/prices: price lists, each in force from a date on."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response

from fairlead.api.endpoints.configuration import PREVIEW
from fairlead.api.endpoints.pagination import Paging, page_of
from fairlead.api.endpoints.requests import ANYWHERE, Admin, PreviewQuery, Reader, json_body, problems
from fairlead.api.schemas.base import Page
from fairlead.api.schemas.configuration import ChangeOut, PriceOut
from fairlead.api.schemas.declarations import PriceIn
from fairlead.api.service.changes import PriceLists, prices_seen
from fairlead.api.service.service import Service


def router(service: Service) -> APIRouter:
    """Build the addresses below /v1/prices."""
    api = APIRouter(prefix="/v1", responses=ANYWHERE, tags=["configuration"])
    prices = PriceLists(service)

    @api.get("/prices", summary="List price lists")
    async def list_prices(principal: Reader, query: Paging) -> Page[PriceOut]:
        """All versions, past and future ones included, of the providers that the key may see."""
        items, cursor = page_of(prices_seen(service, principal), query)
        return Page(items=[prices.answer(price) for price in items], next_cursor=cursor)

    @api.post(
        "/prices", summary="Declare a price list", status_code=201, responses={200: PREVIEW, **problems(409)}
    )
    async def declare(
        *,
        principal: Admin,
        query: PreviewQuery,
        body: Annotated[PriceIn, json_body(PriceIn)],
        response: Response,
    ) -> ChangeOut:
        """In force from its date on, or from now on. Earlier decisions keep their prices."""
        response.status_code = query.status_code
        return await prices.declare(body, principal, preview=query.preview)

    @api.get("/prices/{price_id}", summary="Read a price list", responses=problems(404))
    async def read_price(principal: Reader, price_id: str) -> PriceOut:
        return prices.answer(prices.get(price_id, among=prices_seen(service, principal)))

    @api.delete(
        "/prices/{price_id}",
        summary="Remove a price list that is not in force yet",
        responses=problems(404, 409),
    )
    async def remove_price(principal: Admin, price_id: str, query: PreviewQuery) -> ChangeOut:
        return await prices.remove(price_id, principal, preview=query.preview)

    return api
