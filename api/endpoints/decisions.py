"""The addresses below /v1/decisions: choose a provider, and read a decision."""

from __future__ import annotations

from functools import partial

from fairlead.api.endpoints.requests import JsonRoute, RequestInfo
from fairlead.api.schemas.decisions import (
    DecisionBatchIn,
    DecisionBatchOut,
    DecisionFullOut,
    DecisionIn,
    DecisionOut,
)
from fairlead.api.service.decisions import DecisionService
from fairlead.api.service.service import Service


def routes(service: Service) -> list[JsonRoute]:
    """Build the routes for decisions."""
    # Over 40 lines: the handlers of one subject, and the table of their routes.
    decisions = DecisionService(service)

    async def decide(info: RequestInfo, body: DecisionIn) -> DecisionOut:
        """Draws a provider, and logs the whole distribution that it was drawn from."""
        return await decisions.decide(body, info.principal, info.idempotency_key)

    async def decide_batch(info: RequestInfo, body: DecisionBatchIn) -> DecisionBatchOut:
        """Each decision is made and stored by itself: some can fail while others succeed."""
        keys = info.idempotency_keys(len(body.decisions))
        return DecisionBatchOut(await decisions.decide_batch(body.decisions, info.principal, keys))

    async def read(info: RequestInfo, decision_id: str) -> DecisionFullOut:
        """Return the decision as it was answered, with the first 2,000 of its outcomes and feedback."""
        return await decisions.read(decision_id, info.principal)

    route = partial(JsonRoute, tag="decisions")
    return [
        route(
            "/v1/decisions",
            decide,
            name="decide_one",
            needs="decide",
            summary="Choose a provider",
            statuses=(404, 409),
            stages=service.metrics.stages,
        ),
        route(
            "/v1/decisions/batch",
            decide_batch,
            name="decide_batch",
            needs="decide",
            summary="Choose providers for several requests",
        ),
        route(
            "/v1/decisions/{decision_id}",
            read,
            name="read_decision",
            needs="read",
            summary="Read a decision",
            statuses=(404,),
        ),
    ]
