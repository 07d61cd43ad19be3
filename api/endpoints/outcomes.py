"""Tell: what serving the request took, and how good it was."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from fastapi import APIRouter, Request, Response

from fairlead.api.http.requests import (
    StrictRoute,
    answer,
    body_of,
    caller_of,
    digest_of,
    idempotency_key,
    idempotency_keys,
    problems,
    refused,
    takes,
)
from fairlead.api.problems import Problem
from fairlead.api.schemas.base import is_id
from fairlead.api.schemas.feedback import (
    FeedbackBatchIn,
    FeedbackBatchOut,
    FeedbackIn,
    FeedbackOut,
    OutcomeIn,
    OutcomeOut,
)
from fairlead.api.service.auth import Caller
from fairlead.api.service.service import Service
from fairlead.api.state.fold import Fold
from fairlead.api.state.metadata import encode_metadata
from fairlead.api.state.served_route import ServedRoute, cost_with_source
from fairlead.api.store import Query, Row, of_session
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.persistence.event_log import decode, encode
from fairlead.optimizer.types import Decision, Feedback, Outcome


class Teller:
    """Takes in what came of decisions."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._writing: Counter[tuple[str, str]] = Counter()
        """Judgements that are being written, by key and decision: they are not counted there yet."""

    def known(self, decision_id: str, caller: Caller) -> ServedRoute | None:
        """The route of an open decision; None if it is not known yet; a problem if nothing counts for it."""
        fold = self._service.engine.fold
        served_decision = fold.open.get(decision_id)
        if served_decision is None:
            if fold.pending.is_closed(decision_id):
                raise Problem(
                    "too-late", "The decision is closed: report sooner, or raise the route's reward_wait_s."
                )
            if fold.pending.is_given_up(decision_id):
                wait_s = self._service.settings.parked_wait_s
                raise Problem("unknown-decision", f"The decision did not come within {wait_s:g} s.")
            return None
        caller.require_route(served_decision.route)
        served = fold.routes[served_decision.route]
        if self._service.clock() - served_decision.at_s > served.body.reward_wait_s:
            raise Problem(
                "too-late", f"The route waits {served.body.reward_wait_s:g} s for what comes of a decision."
            )
        return served

    def _row(
        self,
        line: str,
        *,
        kind: Literal["outcome", "feedback"],
        uid: str,
        decision_id: str,
        digest: str,
        metadata: dict[str, Any],
    ) -> Row:
        served_decision = self._service.engine.fold.open.get(decision_id)
        return Row.report(
            line,
            kind=kind,
            uid=uid,
            decision_id=decision_id,
            route=None if served_decision is None else served_decision.route,
            at_s=self._service.clock(),
            digest=digest,
            metadata=encode_metadata(metadata),
        )

    async def _write(self, row: Row, event: Outcome | Feedback, *, given: bool) -> int:
        ((kept, fresh),) = await self._service.append([row], made=event, needs_answer=given)
        if not fresh and (kept.kind, kept.digest, kept.decision_id) != (
            row.kind,
            row.digest,
            row.decision_id,
        ):
            raise Problem("conflict", "The id belongs to something else that was sent: give each its own.")
        return kept.seq

    async def outcome(
        self, decision_id: str, told: OutcomeIn, caller: Caller, key: str | None
    ) -> dict[str, Any]:
        """One outcome."""
        served = self.known(decision_id, caller)
        decision = None if served is None else served.open_decision(decision_id)
        usage = told.usage
        try:
            event = Outcome(
                decision_id=decision_id,
                served_provider=told.served_provider or (decision.selected if decision else ""),
                cost_usd=told.cost_usd,
                input_tokens=None if usage is None else usage.input_tokens,
                output_tokens=None if usage is None else usage.output_tokens,
                cached_tokens=None if usage is None else usage.cached_tokens,
                latency_s=told.latency_s,
                status=told.status,
            )
        except InvalidInput as error:
            raise refused(error) from None
        cost = by = None
        if served is not None and decision is not None:
            providers = (provider.name for provider in served.router.route.providers)
            choosable = (decision.selected, *decision.prices, *providers)
            if event.served_provider not in choosable and not await self._was_candidate(event):
                raise Problem("invalid", "served_provider is not on the route.")
            cost, by = cost_with_source(event, decision.prices)
        given = told.id or key
        name = given or self._service.random.name("out_")
        extra = {"key": caller.key, "routes": caller.routes, "ttft_s": told.ttft_s}
        extra["reasoning_tokens"] = None if usage is None else usage.reasoning_tokens
        extra["priced_usd"] = cost if by == "price_list" else None
        # No id of a decision has a slash, but both may have colons.
        uid = f"o:{caller.key or ''}:{decision_id}/{name}"
        row = self._row(
            encode(event),
            kind="outcome",
            uid=uid,
            decision_id=decision_id,
            digest=digest_of(told) if given else "",
            metadata=extra,
        )
        seq = await self._write(row, event, given=given is not None)
        return {
            "id": name,
            "decision_id": decision_id,
            "seq": seq or None,
            "state": "parked" if served is None else "joined",
            "served_provider": event.served_provider or None,
            "cost_usd": cost,
            "priced_by": by,
        }

    async def _was_candidate(self, event: Outcome) -> bool:
        """Whether who served could be chosen then, though it has been taken off the route since."""
        rows = await self._service.rows(Query(uids=(f"d:{event.decision_id}",)))
        decision = decode(rows[0].line) if rows else None
        return isinstance(decision, Decision) and event.served_provider in decision.providers

    async def feedback(self, told: FeedbackIn, caller: Caller, key: str | None) -> dict[str, Any]:
        """One judgement."""
        if caller.sources is not None and told.source not in caller.sources:
            raise Problem("forbidden", "The key may not judge as this source.")
        per_s = (caller.feedback_per_minute or self._service.settings.feedback_per_minute) / 60.0
        wait_s = self._service.feedback_allowance.take(caller.key, per_s=per_s)
        if wait_s > 0:
            raise Problem(
                "too-many-requests", "The key has sent its share of feedback.", retry_after_s=int(wait_s) + 1
            )
        given = told.id or key
        try:
            return await self._judged(told, caller, given)
        except Problem as problem:
            # What was taken in before stays so, though nothing more would be.
            if problem.status not in (404, 410, 429):
                raise
            uid = f"f:{caller.key or ''}:{given}"
            rows = await self._service.rows(Query(uids=(uid,))) if given else []
            if not rows or told.decision_id is None or rows[0].digest != digest_of(told):
                raise
            return _feedback_answer(given or "", rows[0].seq, "joined", [told.decision_id])

    async def _judged(self, told: FeedbackIn, caller: Caller, given: str | None) -> dict[str, Any]:
        decisions = await self._targets(told)
        joined = False
        for decision_id in decisions:
            served = self.known(decision_id, caller)
            if served is not None:
                self._check(told, served)
                joined = True
            self._check_count(decision_id, caller)
        name = given or self._service.random.name("fb_")
        event = Feedback(
            decision_id=told.decision_id or "", metric=told.metric, value=told.value, source=told.source
        )
        extra = {
            "key": caller.key,
            "routes": caller.routes,
            "session_id": told.session_id,
            "comment": told.comment,
        }
        uid = f"f:{caller.key or ''}:{name}"
        digest = digest_of(told) if given else ""
        place = told.decision_id or of_session(told.session_id or "")
        row = self._row(
            encode(event), kind="feedback", uid=uid, decision_id=place, digest=digest, metadata=extra
        )
        judged = [(caller.key or "", one) for one in decisions]
        for pair in judged:
            self._writing[pair] += 1
        try:
            seq = await self._write(row, event, given=given is not None)
        finally:
            for pair in judged:
                self._writing[pair] -= 1
                if not self._writing[pair]:
                    del self._writing[pair]
        return _feedback_answer(name, seq, "joined" if joined else "parked", decisions)

    async def _targets(self, told: FeedbackIn) -> list[str]:
        if told.decision_id is not None:
            return [told.decision_id]
        engine = self._service.engine
        if not engine.ready:
            raise Problem("unavailable", "The sessions are not known yet: send it again.", retry_after_s=1)
        # A decision that was answered a moment ago belongs to its session too.
        await engine.wait_until_folded(engine.written)
        fold = engine.fold
        found = [one for one in fold.sessions.get(told.session_id or "", ()) if self._waits(fold, one)]
        if not found:
            raise Problem("unknown-decision", "No open decision belongs to this session.")
        return found

    def _waits(self, fold: Fold, decision_id: str) -> bool:
        """Whether an open decision is not too old for feedback; such ones are closed now and then."""
        decision = fold.open[decision_id]
        return self._service.clock() - decision.at_s <= fold.routes[decision.route].body.reward_wait_s

    @staticmethod
    def _check(told: FeedbackIn, served: ServedRoute) -> None:
        metrics = {metric.name: metric for metric in served.router.route.metrics}
        metric = metrics.get(told.metric)
        if metric is None:
            raise Problem(
                "invalid", f"The route declares the metrics {', '.join(sorted(metrics))}: choose from them."
            )
        try:
            if told.value is not None:
                metric.scaled(told.value)
        except InvalidInput as error:
            raise refused(error) from None

    def _check_count(self, decision_id: str, caller: Caller) -> None:
        """A problem where the key has judged enough; what waits or is being written counts too."""
        key, most = caller.key or "", self._service.settings.feedback_per_decision
        fold = self._service.engine.fold
        sent, decision = self._writing[key, decision_id], fold.open.get(decision_id)
        if decision is None:
            sent += sum(row.uid.startswith(f"f:{key}:") for row, _ in fold.pending.waiting(decision_id))
        elif decision.by_key is not None:
            sent += decision.by_key.get(key, 0)
        if sent >= most:
            raise Problem(
                "too-many-requests", f"One key may judge a decision {most} times.", retry_after_s=3_600
            )


def _feedback_answer(name: str, seq: int, state: str, decisions: list[str]) -> dict[str, Any]:
    return {"id": name, "seq": seq or None, "state": state, "decision_ids": decisions}


def router(service: Service) -> APIRouter:
    """The addresses for outcomes and feedback."""
    api = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["outcomes and feedback"])
    teller = Teller(service)

    @api.post(
        "/decisions/{decision_id}/outcome",
        summary="Report what serving took",
        response_model=None,
        responses={200: {"model": OutcomeOut}, **problems(404, 409, 410)},
        openapi_extra=takes(OutcomeIn),
    )
    async def report_outcome(request: Request, decision_id: str) -> Response:
        """Learning credits who served; propensities stay with who was selected."""
        caller = caller_of(request, "feedback")
        told = body_of(request, OutcomeIn)
        if not is_id(decision_id):
            raise Problem("unknown-decision", "There is no decision of this id.")
        return answer(await teller.outcome(decision_id, told, caller, idempotency_key(request)))

    @api.post(
        "/feedback",
        summary="Judge a decision",
        response_model=None,
        responses={200: {"model": FeedbackOut}, **problems(404, 409, 410)},
        openapi_extra=takes(FeedbackIn),
    )
    async def judge(request: Request) -> Response:
        """Before its decision it waits for it; the last one of a metric and source is in force."""
        caller = caller_of(request, "feedback")
        return answer(await teller.feedback(body_of(request, FeedbackIn), caller, idempotency_key(request)))

    @api.post(
        "/feedback/batch",
        summary="Judge several decisions",
        response_model=None,
        responses={200: {"model": FeedbackBatchOut}, **problems()},
        openapi_extra=takes(FeedbackBatchIn),
    )
    async def judge_batch(request: Request) -> Response:
        """Each is kept by itself: some can fail while others do not."""
        caller = caller_of(request, "feedback")
        told = body_of(request, FeedbackBatchIn).feedback
        service.check_batch(len(told), caller)
        pairs = zip(told, idempotency_keys(request, len(told)), strict=True)
        found = await service.each([teller.feedback(one, caller, key) for one, key in pairs], name="feedback")
        return answer({"feedback": found})

    return api
