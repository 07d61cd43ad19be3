"""The address for what is known of a route's providers before its own traffic."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response

from fairlead.api.endpoints.requests import ANYWHERE, Admin, PreviewQuery, json_body, problems
from fairlead.api.schemas.evidence import EvidenceIn, EvidenceOut
from fairlead.api.service.decisions import DecisionService
from fairlead.api.service.evidence import EvidenceService
from fairlead.api.service.service import Service

_PREVIEW = {"model": EvidenceOut, "description": "A preview"}


def router(service: Service) -> APIRouter:
    """Build the address below /v1/routes."""
    api = APIRouter(prefix="/v1", responses=ANYWHERE, tags=["configuration"])
    evidence = EvidenceService(service, DecisionService(service))

    @api.post(
        "/routes/{route}/evidence",
        summary="Say what is known of a route's providers",
        status_code=201,
        responses={200: _PREVIEW, **problems(404)},
    )
    async def know(
        *,
        principal: Admin,
        route: str,
        query: PreviewQuery,
        body: Annotated[EvidenceIn, json_body(EvidenceIn)],
        response: Response,
    ) -> EvidenceOut:
        """How much it counts, the route's own traffic decides; its state shows the trust that was earned."""
        response.status_code = query.status_code
        return await evidence.add(route, body, principal, preview=query.preview)

    return api
