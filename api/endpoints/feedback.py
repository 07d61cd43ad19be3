"""The addresses for outcomes and feedback."""

from __future__ import annotations

from functools import partial

from fairlead.api.endpoints.requests import JsonRoute, RequestInfo
from fairlead.api.schemas.feedback import (
    FeedbackBatchIn,
    FeedbackBatchOut,
    FeedbackIn,
    FeedbackOut,
    OutcomeIn,
    OutcomeOut,
)
from fairlead.api.service.reports import ReportService
from fairlead.api.service.service import Service


def routes(service: Service) -> list[JsonRoute]:
    """Build the routes for outcomes and feedback."""
    # Over 40 lines: the handlers of one subject, and the table of their routes.
    reports = ReportService(service)

    async def report_outcome(info: RequestInfo, body: OutcomeIn, decision_id: str) -> OutcomeOut:
        """Credits the provider that served the request; propensities stay those of the selection."""
        return await reports.report_outcome(
            decision_id, body, principal=info.principal, idempotency_key=info.idempotency_key
        )

    async def give_feedback(info: RequestInfo, body: FeedbackIn) -> FeedbackOut:
        """Feedback may come before its decision; the last value of each metric and source counts."""
        return await reports.give_feedback(body, info.principal, info.idempotency_key)

    async def give_feedback_batch(info: RequestInfo, body: FeedbackBatchIn) -> FeedbackBatchOut:
        """Each piece of feedback is stored by itself: some can fail while others succeed."""
        keys = info.idempotency_keys(len(body.feedback))
        return FeedbackBatchOut(await reports.give_feedback_batch(body.feedback, info.principal, keys))

    route = partial(JsonRoute, tag="outcomes and feedback")
    return [
        route(
            "/v1/decisions/{decision_id}/outcome",
            report_outcome,
            needs="outcome",
            name="report_outcome",
            summary="Report the outcome of a decision",
            statuses=(404, 409, 410),
        ),
        route(
            "/v1/feedback",
            give_feedback,
            needs="feedback",
            name="judge",
            summary="Give feedback on a decision",
            statuses=(404, 409, 410),
        ),
        route(
            "/v1/feedback/batch",
            give_feedback_batch,
            needs="feedback",
            name="judge_batch",
            summary="Give feedback on several decisions",
        ),
    ]
