"""Reports on decisions: the outcome of serving one, and feedback on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

from fairlead.api.problems import Problem, from_refusal
from fairlead.api.schemas.base import is_id
from fairlead.api.schemas.feedback import FeedbackIn, FeedbackItemOut, FeedbackOut, OutcomeIn, OutcomeOut
from fairlead.api.service.auth import Principal
from fairlead.api.service.service import Service, digest_of, new_id
from fairlead.api.state.served_route import ServedRoute, cost_with_source
from fairlead.api.state.tenants import SEPARATOR, elsewhere, public
from fairlead.api.store import Query, Row, of_session
from fairlead.api.store.base import encode_metadata
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.persistence.event_log import decode, encode
from fairlead.optimizer.types import Decision, Feedback, Outcome

_PREFIXES: Final = {"outcome": "o", "feedback": "f"}
"""How the uid of each kind of report begins."""

Reports = Literal["outcome", "feedback"]


class ReportService:
    """Accepts outcomes and feedback, and writes them to the log."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._writing: Counter[tuple[Reports, str, str]] = Counter()
        """Reports that are being written, by kind, key and decision: the state does not count them yet."""

    # Outcomes

    async def report_outcome(
        self, decision_id: str, report: OutcomeIn, *, principal: Principal, idempotency_key: str | None
    ) -> OutcomeOut:
        """Log one outcome."""
        self._service.take_outcome(principal)
        if not is_id(decision_id):
            raise Problem("unknown-decision", "There is no decision of this id.")
        sent_id, decision_id = decision_id, await self._meant(decision_id, principal)
        served = self._route_of(decision_id, principal)
        # None too if its route has not learned it yet.
        decision = None if served is None else served.router.open_decision(decision_id)
        event = _outcome(decision_id, report, default="" if decision is None else decision.selected)
        cost: float | None = None
        source: Literal["reported", "price_list"] | None = None
        quarantined: list[str] = []
        if served is not None and decision is not None:
            providers = (provider.name for provider in served.router.route.providers)
            if event.served_provider not in (decision.selected, *decision.prices, *providers):
                await self._check_candidate(decision_id, event.served_provider)
            cost, source = cost_with_source(event, decision.prices)
            quarantined = list(served.router.implausible(event))
        client_id = report.id or idempotency_key
        name = client_id or new_id("out_")
        uid, digest = f"o:{principal.key or ''}:{sent_id}/{name}", digest_of(report) if client_id else ""
        await self._check_new_outcome(decision_id, principal, uid=uid, digest=digest)
        metadata = {
            "ttft_s": report.ttft_s,
            "quarantined": quarantined or None,
            "unjudged": True if decision is None else None,
            "reasoning_tokens": None if report.usage is None else report.usage.reasoning_tokens,
            "priced_usd": cost if source == "price_list" else None,
        }
        metadata = _sender(principal) | metadata
        with self._counting("outcome", [decision_id], principal):
            seq = await self._log(event, uid=uid, decision_id=decision_id, digest=digest, metadata=metadata)
        state: Literal["joined", "parked"] = "parked" if served is None else "joined"
        served_provider = event.served_provider or None
        return OutcomeOut(name, sent_id, seq, state, served_provider, cost, source, quarantined)

    async def _check_new_outcome(
        self, decision_id: str, principal: Principal, *, uid: str, digest: str
    ) -> None:
        """Raise a problem if the key has reported enough outcomes of a decision, and not this one before."""
        try:
            self._check_count("outcome", decision_id, principal)
        except Problem:
            rows = await self._service.rows(Query(uids=(uid,))) if digest else []
            if not rows or rows[0].digest != digest:
                raise

    async def _check_candidate(self, decision_id: str, provider: str) -> None:
        """Raise a problem unless a provider, which is not on the route any more, was a candidate."""
        rows = await self._service.rows(Query(uids=(f"d:{decision_id}",)))
        logged = decode(rows[0].line) if rows else None
        if not isinstance(logged, Decision) or provider not in logged.providers:
            raise Problem("invalid", "served_provider is not on the route.")

    # Feedback

    async def give_feedback(
        self, report: FeedbackIn, principal: Principal, idempotency_key: str | None
    ) -> FeedbackOut:
        """Log feedback on one decision, or on the open decisions of a session."""
        if principal.sources is not None and report.source not in principal.sources:
            raise Problem("forbidden", "The key may not give feedback as this source.")
        self._service.take_feedback(principal)
        client_id = report.id or idempotency_key
        try:
            return await self._log_feedback(report, principal, client_id)
        except Problem as problem:
            # Feedback that was accepted once stands, even if nothing more would be accepted.
            if client_id is None or report.decision_id is None or problem.status not in (404, 410, 429):
                raise
            rows = await self._service.rows(Query(uids=(f"f:{principal.key or ''}:{client_id}",)))
            if not rows or rows[0].digest != digest_of(report):
                raise
            return FeedbackOut(client_id, rows[0].seq or None, "joined", [report.decision_id])

    async def give_feedback_batch(
        self, reports: Sequence[FeedbackIn], principal: Principal, keys: Sequence[str | None]
    ) -> list[FeedbackItemOut]:
        """Log several pieces of feedback, each by itself: some can fail while others succeed."""
        self._service.check_batch(len(reports), principal)
        work = [self.give_feedback(report, principal, key) for report, key in zip(reports, keys, strict=True)]
        return await self._service.gather(work, FeedbackItemOut)

    async def _log_feedback(
        self, report: FeedbackIn, principal: Principal, client_id: str | None
    ) -> FeedbackOut:
        decision_ids, session = await self._decision_ids(report, principal)
        joined = False
        for decision_id in decision_ids:
            served = self._route_of(decision_id, principal)
            if served is not None:
                _check_value(report, served)
                joined = True
            self._check_count("feedback", decision_id, principal)
        name = client_id or new_id("fb_")
        event = Feedback(
            decision_id="" if session is not None else decision_ids[0],
            metric=report.metric,
            value=report.value,
            source=report.source,
        )
        with self._counting("feedback", decision_ids, principal):
            seq = await self._log(
                event,
                uid=f"f:{principal.key or ''}:{name}",
                decision_id=event.decision_id or of_session(session or ""),
                digest=digest_of(report) if client_id else "",
                metadata=_sender(principal) | {"session_id": session, "comment": report.comment},
            )
        sent_ids = [decision_id.rpartition(SEPARATOR)[2] for decision_id in decision_ids]
        return FeedbackOut(name, seq, "joined" if joined else "parked", sent_ids)

    async def _meant(self, client_id: str, principal: Principal) -> str:
        """Return the id in the log of the decision that the holder of a key means."""
        engine, own = self._service.engine, principal.own(client_id)
        decision = engine.fold.open.get(own)
        if decision is not None and principal.may_use(decision.route):
            return own
        if not engine.in_force.config.keys:
            return own  # there are no tenants
        if engine.ready:
            # A decision of another tenant that was answered a moment ago would not be met otherwise.
            await engine.wait_until_folded(engine.written)
        meant = engine.fold.meant(own, principal.routes)
        if meant is None and principal.routes is None:
            config, is_closed = engine.in_force.config, engine.fold.pending.is_closed
            others = elsewhere(own, config.keys, routes=None, declared=tuple(config.routes))
            meant = next(filter(is_closed, others), None)
        return meant or own

    async def _decision_ids(self, report: FeedbackIn, principal: Principal) -> tuple[list[str], str | None]:
        """Return the decisions that feedback is about, and their session if it is about one."""
        if report.decision_id is not None:
            return [await self._meant(report.decision_id, principal)], None
        engine = self._service.engine
        if not engine.ready:
            raise Problem("unavailable", "Sessions are being rebuilt: send it again.", retry_after_s=1)
        # A decision that was answered a moment ago belongs to its session too.
        await engine.wait_until_folded(engine.written)
        fold = engine.fold
        session = fold.session_of(principal.own(report.session_id or ""), principal.routes)
        decision_ids = [
            decision_id
            for decision_id in fold.sessions.get(session, ())
            if principal.may_use(fold.open[decision_id].route) and not self._is_late(decision_id)
        ]
        if not decision_ids:
            raise Problem("unknown-decision", "No open decision belongs to this session.")
        return decision_ids, session

    def _is_late(self, decision_id: str) -> bool:
        """Whether an open decision is too old for reports; the fold closes such decisions in groups."""
        fold = self._service.engine.fold
        decision = fold.open[decision_id]
        return self._service.clock() - decision.at_s > fold.routes[decision.route].body.reward_wait_s

    # Both

    def _check_count(self, kind: Reports, decision_id: str, principal: Principal) -> None:
        """Raise a problem if the key has sent enough; reports that wait or are being written count too."""
        key, settings = principal.key or "", self._service.settings
        most = settings.outcomes_per_decision if kind == "outcome" else settings.feedback_per_decision
        fold = self._service.engine.fold
        sent, decision = self._writing[kind, key, decision_id], fold.open.get(decision_id)
        if decision is None:
            start = f"{_PREFIXES[kind]}:{key}:"
            sent += sum(row.uid.startswith(start) for row, _ in fold.pending.waiting(decision_id))
        else:
            sent += decision.reports_of(kind, key)
        if sent >= most:
            what = "report the outcome of" if kind == "outcome" else "give feedback on"
            raise Problem(
                "too-many-requests",
                f"One key may {what} a decision at most {most} times.",
                retry_after_s=3_600,
            )

    @contextmanager
    def _counting(self, kind: Reports, decision_ids: Sequence[str], principal: Principal) -> Iterator[None]:
        """Count reports on these decisions as being written meanwhile."""
        counted = [(kind, principal.key or "", decision_id) for decision_id in decision_ids]
        self._writing.update(counted)
        try:
            yield
        finally:
            for entry in counted:
                self._writing[entry] -= 1
                if not self._writing[entry]:
                    del self._writing[entry]

    def _route_of(self, decision_id: str, principal: Principal) -> ServedRoute | None:
        """Return the route of an open decision, None if the decision is not known yet.

        Raises a problem if the decision is closed or never came.
        """
        fold = self._service.engine.fold
        decision = fold.open.get(decision_id)
        if decision is not None and not principal.may_use(decision.route):
            return None  # of what is on other routes, no more is told than of what there is not
        if decision is None:
            if fold.pending.is_closed(decision_id):
                raise Problem(
                    "too-late", "The decision is closed: report sooner, or raise the route's reward_wait_s."
                )
            if fold.pending.is_given_up(decision_id):
                wait_s = self._service.settings.parked_wait_s
                raise Problem("unknown-decision", f"The decision did not come within {wait_s:g} s.")
            return None
        served = fold.routes[decision.route]
        if self._is_late(decision_id):
            wait_s = served.body.reward_wait_s
            raise Problem("too-late", f"The route accepts reports for {wait_s:g} s after a decision.")
        return served

    async def _log(
        self, event: Outcome | Feedback, *, uid: str, decision_id: str, digest: str, metadata: dict[str, Any]
    ) -> int | None:
        """Log a report; its seq, None until it is written. A problem if its uid belongs to another event.

        ``digest`` is empty unless the client chose the id, so that the report may have been logged before.
        """
        service = self._service
        decision = service.engine.fold.open.get(decision_id)
        row = Row.report(
            encode(event),
            kind="outcome" if isinstance(event, Outcome) else "feedback",
            uid=uid,
            decision_id=decision_id,
            route=None if decision is None else decision.route,
            at_s=service.clock(),
            digest=digest,
            metadata=encode_metadata(metadata),
        )
        ((logged, fresh),) = await service.append([row], event=event, needs_answer=bool(digest))
        # Of two reports under one id, the second may have met a decision that the first came ahead of.
        met = logged.decision_id or ""
        same = met == decision_id or public(met) == public(decision_id)
        same = same and (logged.kind, logged.digest) == (row.kind, row.digest)
        if not fresh and not same:
            raise Problem("conflict", "The id belongs to another report: use a new id.")
        return logged.seq or None


def _sender(principal: Principal) -> dict[str, Any]:
    """Return the metadata of every report."""
    return {"key": principal.key, "routes": principal.routes}


def _outcome(decision_id: str, report: OutcomeIn, *, default: str) -> Outcome:
    """Return the event for a report; ``default`` served it if the report names no provider."""
    usage = report.usage
    try:
        return Outcome(
            decision_id=decision_id,
            served_provider=report.served_provider or default,
            cost_usd=report.cost_usd,
            input_tokens=None if usage is None else usage.input_tokens,
            output_tokens=None if usage is None else usage.output_tokens,
            cached_tokens=None if usage is None else usage.cached_tokens,
            latency_s=report.latency_s,
            status=report.status,
        )
    except InvalidInput as error:
        raise from_refusal(error) from None


def _check_value(report: FeedbackIn, served: ServedRoute) -> None:
    """Raise a problem for a metric that the route does not declare, or a value outside its range."""
    metrics = {metric.name: metric for metric in served.router.route.metrics}
    metric = metrics.get(report.metric)
    if metric is None:
        raise Problem(
            "invalid", f"The route declares the metrics {', '.join(sorted(metrics))}: choose from them."
        )
    try:
        if report.value is not None:
            metric.scaled(report.value)
    except InvalidInput as error:
        raise from_refusal(error) from None
