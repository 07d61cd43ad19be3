"""Price lists, by the date from which they are in force."""

from __future__ import annotations

import secrets
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
    refused,
    takes,
)
from fairlead.api.problems import Problem
from fairlead.api.schemas.configuration import ChangeOut, PriceListOut, PriceOut
from fairlead.api.schemas.declarations import PriceIn
from fairlead.api.service.answers import timestamp
from fairlead.api.service.changes import make_change
from fairlead.api.service.service import Service
from fairlead.api.state.configuration import Change, PriceList, effective_s
from fairlead.optimizer.errors import InvalidInput


def router(service: Service) -> APIRouter:
    """The addresses below /v1/prices."""
    api = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["configuration"])

    def price_out(body: PriceList) -> dict[str, Any]:
        in_force = service.engine.fold.config.price_in_force(body.provider)
        fields = body.model_dump(mode="json", include=set(PriceIn.model_fields))
        return {
            **fields,
            "id": body.id,
            "effective_from": timestamp(body.effective_s),
            "in_force": in_force is not None and in_force.id == body.id,
        }

    def one(price_id: str) -> PriceList:
        known = service.engine.fold.config.prices.get(price_id)
        if known is None:
            raise Problem("not-found", "There is no price list of this id.")
        return known

    @api.get(
        "/prices",
        summary="List price lists",
        response_model=None,
        responses={200: {"model": PriceListOut}, **problems()},
    )
    async def list_prices(request: Request, page: Annotated[Page, Query()]) -> Response:
        """All versions that were declared, those of the past and of the future too."""
        caller_of(request, "read")
        found = paged(dict(service.engine.fold.config.prices), page)
        return answer({**found, "items": [price_out(item) for item in found["items"]]})

    @api.post(
        "/prices",
        summary="Declare a price list",
        response_model=None,
        status_code=201,
        responses={200: {"model": ChangeOut}, 201: {"model": ChangeOut}, **problems(409)},
        openapi_extra=takes(PriceIn),
    )
    async def declare(request: Request, ask: Annotated[Preview, Query()]) -> Response:
        """In force from its date on, or from now on. Decisions made before keep their prices."""
        caller = caller_of(request, "admin")
        body = body_of(request, PriceIn)
        now_s = service.clock()
        try:
            since_s = effective_s(body, now_s)
        except InvalidInput as error:
            raise refused(error) from None
        name = f"price_{secrets.token_hex(8)}"
        full = {
            **body.model_dump(mode="json"),
            "id": name,
            "effective_s": since_s,
            "active": since_s <= now_s,
        }
        made = await make_change(service, caller, Change("price", name, "put", full), preview=ask.preview)
        return answer(made, status=200 if ask.preview else 201)

    @api.get(
        "/prices/{price_id}",
        summary="Read a price list",
        response_model=None,
        responses={200: {"model": PriceOut}, **problems(404)},
    )
    async def read_price(request: Request, price_id: str) -> Response:
        caller_of(request, "read")
        return answer(price_out(one(price_id)))

    @api.delete(
        "/prices/{price_id}",
        summary="Remove a price list that is not in force yet",
        response_model=None,
        responses={200: {"model": ChangeOut}, **problems(404, 409)},
    )
    async def remove_price(request: Request, price_id: str, ask: Annotated[Preview, Query()]) -> Response:
        caller = caller_of(request, "admin")
        one(price_id)
        change = Change("price", price_id, "remove", None)
        return answer(await make_change(service, caller, change, preview=ask.preview))

    return api
