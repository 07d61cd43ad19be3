"""Decisions: choose a provider, log the whole distribution, and answer once that is durable."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from math import inf
from time import perf_counter
from typing import Any, Final

import numpy as np

from fairlead.api.problems import Problem, from_refusal
from fairlead.api.schemas.base import is_id
from fairlead.api.schemas.decisions import (
    DecisionFullOut,
    DecisionIn,
    DecisionItemOut,
    DecisionOut,
    Part,
    RequestConstraints,
    RequestObjective,
)
from fairlead.api.service.answers import decision_answer, logged_decision, logged_report
from fairlead.api.service.auth import Principal
from fairlead.api.service.reservations import Reservations
from fairlead.api.service.service import Service, digest_of, draw_uniform, idempotent_id, new_id
from fairlead.api.state.decide import decide, money_left
from fairlead.api.state.served_route import ServedRoute
from fairlead.api.state.tenants import elsewhere
from fairlead.api.store import Query, Row, of_session
from fairlead.api.store.base import decode_decision_metadata, decode_report_metadata, encode_metadata
from fairlead.optimizer.errors import InvalidInput, NoEligibleProvider
from fairlead.optimizer.persistence.event_log import encode
from fairlead.optimizer.types import Constraints, Context, Decision, Objective

_CREATION_WAIT_S: Final = 5.0
MOST_UIDS: Final = 500
"""Decisions looked for in one statement."""
PER_TURN: Final = 8
"""Decisions in one turn of the event loop: some three milliseconds."""


class Turns:
    """Lets a few tasks through in each turn of the event loop, and the others in later turns.

    When many requests arrive at once, the loop would otherwise make all their decisions before it sees that a
    commit is done, or that there are more requests to refuse. At ten times the peak load that raised the
    99th percentile of the time of a refusal from 73 to 168 ms.
    """

    def __init__(self, per_turn: int) -> None:
        self._per_turn = self._left = per_turn

    async def wait(self) -> None:
        """Return when it is the task's turn."""
        while not self._left:
            await asyncio.sleep(0)
        if self._left == self._per_turn:
            asyncio.get_running_loop().call_soon(self._next)
        self._left -= 1

    def _next(self) -> None:
        self._left = self._per_turn


class DecisionService:
    """Makes decisions and reads them back."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stages = service.metrics.stages
        self._turns = Turns(PER_TURN)
        self._unlearned = Reservations(self._is_learned)
        """For budgets of single routes, which book a decision once its route has learned it."""
        self._unfolded = Reservations(lambda _, name: name in service.engine.fold.open)
        """For budgets that routes share, which book a decision once it is dispatched."""

    async def decide(
        self, request: DecisionIn, principal: Principal, idempotency_key: str | None
    ) -> DecisionOut:
        """Make one decision, written before it is answered."""
        principal.require_route(request.route)
        served = await self.served(request.route)
        client_id = request.id
        if client_id is None and idempotency_key is not None and not request.dry_run:
            client_id = idempotent_id("dec", principal.key, idempotency_key)
        await self._turns.wait()
        try:
            decision, metadata = self._choose(
                request, served, decision_id=principal.own(client_id or new_id("dec_")), principal=principal
            )
        except (InvalidInput, NoEligibleProvider) as error:
            # A decision that was answered once stands, even if the route's providers have changed since.
            earlier = None if client_id is None else await self._earlier(principal.own(client_id), request)
            if earlier is None:
                raise from_refusal(error, now_s=self._service.clock()) from None
            return earlier
        answer = decision_answer(decision, metadata, decision.at_s or 0.0, stored=not request.dry_run)
        if request.dry_run:
            return answer
        if answer.explored:
            metadata["explored"] = True
        self._reserve(decision, served)
        digest = "" if client_id is None else digest_of(request)
        return await self._write(decision, metadata, digest=digest) or answer

    async def served(self, name: str) -> ServedRoute:
        """Return a route; a problem if there is none. One created a moment ago is waited for."""
        engine = self._service.engine
        declared = engine.in_force.routes.get(name)
        if declared is None:
            raise Problem("not-found", f"There is no route {name!r}.")
        if declared.created > engine.fold.seq:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CREATION_WAIT_S):
                    await engine.wait_until_folded(declared.created)
        served = engine.fold.routes.get(name)
        # Another route may have had the name before.
        if served is None or declared.created > engine.fold.seq:
            raise Problem("unavailable", "The route is being created: send it again.", retry_after_s=1)
        return served

    def _is_learned(self, route: str, decision_id: str) -> bool:
        served = self._service.engine.fold.routes.get(route)
        return served is None or served.router.open_decision(decision_id) is not None

    def _limit_spending(self, route: str, served: ServedRoute) -> float:
        """Tell the router what the hard budgets that it shares have left now; returns the time."""
        now_s, shared = self._service.clock(), self._service.engine.fold.shared
        limits = shared.hard_limits(route, now_s, reserved_usd=self._unfolded.usd(now_s))
        reserved_usd = self._unlearned.usd(now_s).get(route, 0.0)
        served.router.limit_spending(*limits, reserved_usd=reserved_usd)
        return now_s

    def _reserve(self, decision: Decision, served: ServedRoute) -> None:
        """Keep what a decision is expected to cost for it, if there is a hard budget."""
        if money_left(served, decision.at_s or 0.0):
            self._unlearned.add(decision)
            self._unfolded.add(decision)

    def _release(self, decision: Decision) -> None:
        self._unlearned.drop(decision)
        self._unfolded.drop(decision)

    def _choose(
        self, request: DecisionIn, served: ServedRoute, *, decision_id: str, principal: Principal
    ) -> tuple[Decision, dict[str, Any]]:
        """Return the decision, and the metadata that are logged with it."""
        service = self._service
        started = perf_counter()
        text, own, draw = text_of(request), served.router.route.objective, draw_uniform()
        objective = None if request.objective is None else _objective(request.objective, own)
        state_seq, steps = served.state_at(service.engine.fold.seq)
        declared = service.engine.in_force.routes.get(request.route)
        # The route learns changes of its configuration in their turn; what they forbid holds at once.
        ahead = None if declared is None or declared.changed <= state_seq else declared
        terms = service.terms_of(text) if served.learns_text else None
        decision, fault = decide(
            served,
            _context(request, text, terms),
            decision_id=decision_id,
            draw=draw,
            at_s=self._limit_spending(request.route, served),
            candidates=request.candidates,
            constraints=None if request.constraints is None else _constraints(request.constraints),
            objective=objective,
            ready=service.engine.ready,
            ahead=ahead,
        )
        self._stages["decide"].observe(perf_counter() - started)
        if fault is not None:
            service.engine.faults[request.route, fault] += 1
        metadata = {
            "key": principal.key,
            "session_id": None if request.session_id is None else principal.own(request.session_id),
            "draw": draw,
            "state_seq": state_seq,
            **_metadata(request, text if service.settings.store_prompts else None),
        }
        if steps:
            metadata["state_steps"] = steps
        if ahead is not None:
            metadata["config_seq"] = ahead.changed
        return decision, metadata | _latency_metadata(decision, (objective or own).latency_weight)

    async def decide_batch(
        self, requests: Sequence[DecisionIn], principal: Principal, keys: Sequence[str | None]
    ) -> list[DecisionItemOut]:
        """Make several decisions, each by itself: some can fail while others succeed."""
        self._service.check_batch(len(requests), principal)
        work = [self.decide(*pair) for pair in zip(requests, [principal] * len(keys), keys, strict=True)]
        return await self._service.gather(work, DecisionItemOut)

    async def read(self, decision_id: str, principal: Principal) -> DecisionFullOut:
        """Return a decision as it was answered, with everything that followed."""
        service = self._service
        row = await self.logged(decision_id, principal)
        rows = await service.rows(Query(decision_id=row.decision_id))
        reports = [report for report in rows if report.kind in ("outcome", "feedback")]
        reports += await self._session_feedback(row)
        answer, prices = logged_decision(row), service.prices_of(row)
        return DecisionFullOut(
            answer,
            [
                logged_report(report, answer.selected, prices)
                for report in sorted(reports, key=lambda report: report.seq)
            ],
            "open" if service.is_open(row) else "closed",
        )

    async def logged(self, client_id: str, principal: Principal) -> Row:
        """Return the row of the decision that the holder of a key means; a problem if it may see none."""
        service, own = self._service, principal.own(client_id)
        # By its own uid: more events may have arrived ahead of it than are read at a time.
        rows = await service.rows(Query(uids=(f"d:{own}",))) if is_id(client_id) else []
        rows = [row for row in rows if principal.may_use(row.route or "")]
        if not rows and is_id(client_id):
            config = service.engine.in_force.config
            names = elsewhere(own, config.keys, routes=principal.routes, declared=tuple(config.routes))
            uids = [f"d:{name}" for name in names]
            for start in range(0, len(uids), MOST_UIDS):
                rows += await service.rows(Query(uids=tuple(uids[start : start + MOST_UIDS])))
            rows = [row for row in rows if principal.may_use(row.route or "")]
        if not rows:
            raise Problem("unknown-decision", "There is no decision of this id.")
        return rows[-1]

    async def _earlier(self, decision_id: str, request: DecisionIn) -> DecisionOut | None:
        """Return the answer that the same request got before, if it did."""
        rows = await self._service.rows(Query(uids=(f"d:{decision_id}",)))
        return logged_decision(rows[0]) if rows and rows[0].digest == digest_of(request) else None

    async def _write(
        self, decision: Decision, metadata: dict[str, Any], *, digest: str
    ) -> DecisionOut | None:
        """Log a decision. If its id was logged before, return the answer of then; None if it is new."""
        started = perf_counter()
        row = Row.decision(
            encode(decision, checked=True),
            decision_id=decision.id,
            route=decision.route,
            at_s=decision.at_s or 0.0,
            digest=digest,
            metadata=encode_metadata(metadata),
        )
        encoded = perf_counter()
        self._stages["encode"].observe(encoded - started)
        # Another decision may have been logged under an id of the client's: only the log can tell.
        try:
            written = await self._service.append([row], event=decision, needs_answer=bool(digest))
        except BaseException:
            self._release(decision)
            raise
        ((logged, fresh),) = written
        self._stages["wait"].observe(perf_counter() - encoded)
        if fresh:
            return None
        self._release(decision)
        if (logged.kind, logged.digest) != (row.kind, row.digest):
            raise Problem("conflict", "The id belongs to another request: use a new id.")
        return logged_decision(logged)

    async def _session_feedback(self, decision: Row) -> list[Row]:
        """Return the feedback on the session of a decision that arrived while the decision was open."""
        session = decode_decision_metadata(decision.metadata).session_id
        if session is None:
            return []
        rows = await self._service.rows(Query(decision_id=of_session(session), after=decision.seq))
        served = self._service.engine.fold.routes.get(decision.route or "")
        wait_s = inf if served is None else served.body.reward_wait_s

        def applies(row: Row) -> bool:
            # Feedback from a key for other routes was about other decisions of the session.
            routes = decode_report_metadata(row.metadata).routes
            return row.at_s - decision.at_s <= wait_s and (routes is None or decision.route in routes)

        return list(filter(applies, rows))


def _latency_metadata(decision: Decision, latency_weight: float) -> dict[str, Any]:
    """Return what the answer to a decision needs beside its line, as far as latencies count."""
    metadata: dict[str, Any] = {}
    if decision.latency_sd_s is not None and not np.isnan(decision.latency_sd_s).all():
        metadata["latency_sd"] = decision.latency_sd_s.round(4).tolist()
    if latency_weight:
        metadata["latency_weight"] = latency_weight
    return metadata


def text_of(request: DecisionIn) -> str | None:
    """Return the text of a request: the prompt, or the text of its messages."""
    if request.messages is None:
        return request.prompt
    return "\n".join(text for message in request.messages for text in _texts(message.content))


def _texts(content: str | Part | Sequence[str | Part] | None) -> Iterator[str]:
    """Yield the texts of a message or of a part, in the order in which they stand there."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, Part):
        if content.text is not None:
            yield content.text
        yield from _texts(content.content)
    else:
        for part in content or ():
            yield from _texts(part)


def _context(request: DecisionIn, text: str | None, terms: bytes | None) -> Context:
    return Context(
        text=text,
        task=request.task,
        attributes=request.attributes,
        embedding=None if request.embedding is None else np.array(request.embedding, dtype=np.float64),
        features=None if request.features is None else np.array(request.features, dtype=np.float64),
        input_tokens=request.input_tokens,
        terms=terms,
    )


def _constraints(rules: RequestConstraints) -> Constraints:
    return Constraints(
        deny=rules.ignore,
        capabilities=frozenset(rules.capabilities),
        max_cost_usd=rules.max_cost_usd,
        max_latency_s=rules.max_latency_s,
        max_tail_latency_s=rules.max_tail_latency_s,
        strict=rules.strict,
    )


def _objective(request: RequestObjective, own: Objective) -> Objective:
    """Return the weights of a request, completed by the route's own."""
    says_worth = request.dial is not None or request.willingness_to_pay_usd is not None
    return Objective(
        willingness_to_pay_usd=request.worth_usd if says_worth else own.willingness_to_pay_usd,
        latency_weight=own.latency_weight if request.latency_weight is None else request.latency_weight,
    )


def _metadata(request: DecisionIn, text: str | None) -> dict[str, Any]:
    """Collect what a replay and a reader of the log need to know about the request."""
    metadata: dict[str, Any] = {}
    for name in ("tags", "candidates"):
        value = getattr(request, name)
        if value:
            metadata[name] = value
    for name in ("constraints", "objective"):
        value = getattr(request, name)
        if value is not None:
            metadata[name] = value.model_dump(mode="json", exclude_defaults=True)
    if text is not None:
        metadata["prompt"] = text
    return metadata
