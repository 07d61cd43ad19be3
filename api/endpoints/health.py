"""The addresses for monitoring: alive, ready, metrics, and the learned state of a route."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from fairlead.api.endpoints.requests import ANYWHERE, Reader, problems
from fairlead.api.schemas.state import LiveOut, ReadyOut, RouteStateOut
from fairlead.api.service.route_state import readiness, route_state
from fairlead.api.service.service import Service

_METRICS: Final = {"text/plain": {"schema": {"type": "string"}, "example": "fairlead_ready 1.0\n"}}


def router(service: Service) -> APIRouter:
    """Build the addresses for monitoring."""
    api = APIRouter(tags=["state and health"])

    @api.head("/livez", include_in_schema=False)
    @api.get("/livez", summary="Check that the process answers")
    async def live() -> LiveOut:
        return LiveOut(status="alive")

    @api.head("/readyz", include_in_schema=False)
    @api.get("/readyz", summary="Check that the service is ready", responses={503: {"model": ReadyOut}})
    async def ready(response: Response) -> ReadyOut:
        """503 while the state is being rebuilt; decisions then get each route's default provider."""
        answer = readiness(service)
        response.status_code = 200 if answer.ready else 503
        return answer

    @api.head("/metrics", include_in_schema=False)
    @api.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=PlainTextResponse,
        responses={200: {"content": _METRICS}, **ANYWHERE},
    )
    async def metrics(principal: Reader) -> Response:
        """Of routes, those that the key may use; a key with limits sees no shared budget."""
        return Response(service.metrics.text(principal.routes), media_type=CONTENT_TYPE_LATEST)

    @api.get(
        "/v1/routes/{route}/state",
        summary="Read what a route has learned",
        responses=ANYWHERE | problems(404),
    )
    async def state(principal: Reader, route: str) -> RouteStateOut:
        """Beliefs about each provider, also by task; trust in context, shadow price, spending, alarms."""
        return route_state(service, route, principal)

    return api
