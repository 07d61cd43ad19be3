"""Ask: which provider shall serve this request?"""

from __future__ import annotations

from functools import partial
from math import inf
from time import perf_counter
from typing import Any, Final

import numpy as np
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
from fairlead.api.schemas.decisions import (
    DecisionBatchIn,
    DecisionBatchOut,
    DecisionFullOut,
    DecisionIn,
    DecisionOut,
    RequestObjective,
)
from fairlead.api.service.answers import Answer, decision_answer, decision_of, event_of
from fairlead.api.service.auth import Caller
from fairlead.api.service.service import Service, idempotent_id
from fairlead.api.service.turns import Turns
from fairlead.api.state.configuration import worth_usd
from fairlead.api.state.decide import decide
from fairlead.api.state.metadata import decode_decision_metadata, decode_report_metadata, encode_metadata
from fairlead.api.store import Query, Row, of_session
from fairlead.optimizer.errors import InvalidInput, NoEligibleProvider
from fairlead.optimizer.persistence.event_log import encode
from fairlead.optimizer.types import Constraints, Context, Decision, Objective

PER_TURN: Final = 8
"""Decisions made in one turn of the event loop: some three milliseconds."""


def text_of(asked: DecisionIn) -> str | None:
    """The text that is looked at: the prompt, or what the messages say."""
    if asked.messages is None:
        return asked.prompt
    parts: list[str] = []
    for message in asked.messages:
        if isinstance(message.content, str):
            parts.append(message.content)
        else:
            parts += [part.text for part in message.content or () if part.text is not None]
    return "\n".join(parts)


def _context(asked: DecisionIn, text: str | None) -> Context:
    return Context(
        text=text,
        task=asked.task,
        attributes=asked.attributes,
        embedding=None if asked.embedding is None else np.array(asked.embedding, dtype=np.float64),
        features=None if asked.features is None else np.array(asked.features, dtype=np.float64),
        input_tokens=asked.input_tokens,
    )


class Decider:
    """Makes decisions for callers, and writes them to the log."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._turns = Turns(PER_TURN)
        timed = service.metrics.stages.timed
        self.parsed, self._decided, self._encoded, self._waited, self.answered = (
            partial(timed, name) for name in ("parse", "decide", "encode", "wait", "answer")
        )

    async def decide(self, asked: DecisionIn, caller: Caller, key: str | None) -> Answer:
        """One decision, written before it is answered."""
        service = self._service
        caller.require_route(asked.route)
        served = service.engine.fold.routes.get(asked.route)
        if served is None:
            raise Problem("not-found", f"There is no route {asked.route!r}.")
        given_id = asked.id
        if given_id is None and key is not None and not asked.dry_run:
            given_id = idempotent_id("dec", caller.key, key)
        text = text_of(asked)
        await self._turns.take()
        started = perf_counter()
        own, draw, at_s = served.router.route.objective, service.random.uniform(), service.clock()
        try:
            objective = None if asked.objective is None else _objective(asked.objective, own)
            decision, fault = decide(
                served,
                _context(asked, text),
                decision_id=given_id or service.random.name("dec_"),
                draw=draw,
                at_s=at_s,
                candidates=asked.candidates,
                constraints=_constraints(asked),
                objective=objective,
                ready=service.engine.ready,
            )
        except (InvalidInput, NoEligibleProvider) as error:
            # What was decided stays so, though the route's providers are others now.
            again = None if given_id is None else await self._before(given_id, asked)
            if again is None:
                raise refused(error) from None
            return again
        self._decided(perf_counter() - started)
        if fault is not None:
            service.engine.faults[asked.route, fault] += 1
        weights = objective or own
        metadata = {
            "key": caller.key,
            "draw": draw,
            "state_seq": service.engine.fold.seq,
            **_metadata(asked, text if service.settings.store_prompts else None),
        }
        spread = served.router.latency_sd_s.round(4).tolist()
        if decision.fallback_used is None and any(sd == sd for sd in spread):
            metadata["latency_sd"] = spread
        if weights.latency_weight:
            metadata["latency_weight"] = weights.latency_weight
        made = decision_answer(decision, metadata, at_s, kept=not asked.dry_run)
        if asked.dry_run:
            return made
        if made.explored:
            metadata["explored"] = True
        return await self._kept(decision, metadata, "" if given_id is None else digest_of(asked)) or made

    async def _before(self, given_id: str, asked: DecisionIn) -> Answer | None:
        """What the same request was answered before, if it was."""
        rows = await self._service.rows(Query(uids=(f"d:{given_id}",)))
        return decision_of(rows[0]) if rows and rows[0].digest == digest_of(asked) else None

    async def _kept(self, decision: Decision, metadata: dict[str, Any], digest: str) -> Answer | None:
        """Write it. Where its id was written before, the answer of then; None where it is new."""
        service = self._service
        started = perf_counter()
        row = Row.decision(
            encode(decision, checked=True),
            decision_id=decision.id,
            route=decision.route,
            at_s=decision.at_s or 0.0,
            digest=digest,
            metadata=encode_metadata(metadata),
        )
        now = perf_counter()
        self._encoded(now - started)
        # Another decision may have been written under an id that was given: only the log knows which.
        ((kept, fresh),) = await service.append([row], made=decision, needs_answer=bool(digest))
        self._waited(perf_counter() - now)
        if fresh:
            return None
        if (kept.kind, kept.digest) != (row.kind, row.digest):
            raise Problem("conflict", "The id belongs to another request: give each request its own.")
        return decision_of(kept)


def _constraints(asked: DecisionIn) -> Constraints | None:
    rules = asked.constraints
    if rules is None:
        return None
    return Constraints(
        deny=rules.ignore,
        capabilities=frozenset(rules.capabilities),
        max_cost_usd=rules.max_cost_usd,
        max_latency_s=rules.max_latency_s,
    )


def _objective(asked: RequestObjective, route: Objective) -> Objective:
    """What the request says, and of what it does not say the route's."""
    says_worth = asked.dial is not None or asked.willingness_to_pay_usd is not None
    return Objective(
        willingness_to_pay_usd=worth_usd(asked) if says_worth else route.willingness_to_pay_usd,
        latency_weight=route.latency_weight if asked.latency_weight is None else asked.latency_weight,
    )


def _metadata(asked: DecisionIn, text: str | None) -> dict[str, Any]:
    """What a replay and a reader of the log need of the request, beside the decision itself."""
    metadata: dict[str, Any] = {}
    for name in ("tags", "session_id", "candidates"):
        value = getattr(asked, name)
        if value:
            metadata[name] = value
    for name in ("constraints", "objective"):
        value = getattr(asked, name)
        if value is not None:
            metadata[name] = value.model_dump(mode="json", exclude_defaults=True)
    if text is not None:
        metadata["prompt"] = text
    return metadata


async def _on_its_session(service: Service, decision: Row) -> list[Row]:
    """The feedback on the session of a decision that came while the decision was open."""
    session = decode_decision_metadata(decision.metadata).session_id
    if session is None:
        return []
    found = await service.rows(Query(decision_id=of_session(session), after=decision.seq))
    served = service.engine.fold.routes.get(decision.route or "")
    wait_s = inf if served is None else served.body.reward_wait_s

    def concerned(row: Row) -> bool:
        # A key for other routes spoke of the session's other decisions.
        routes = decode_report_metadata(row.metadata).routes
        return row.at_s - decision.at_s <= wait_s and (routes is None or decision.route in routes)

    return list(filter(concerned, found))


def router(service: Service) -> APIRouter:
    """The addresses below /v1/decisions."""
    api = APIRouter(prefix="/v1/decisions", route_class=StrictRoute, tags=["decisions"])
    decider = Decider(service)

    @api.post(
        "",
        summary="Choose a provider",
        response_model=None,
        responses={200: {"model": DecisionOut}, **problems(404, 409)},
        openapi_extra=takes(DecisionIn),
    )
    async def decide_one(request: Request) -> Response:
        """Draws a provider, and writes the whole distribution it was drawn from to the log."""
        started = perf_counter()
        caller = caller_of(request, "decide")
        asked = body_of(request, DecisionIn)
        key = idempotency_key(request)
        decider.parsed(perf_counter() - started)
        made = await decider.decide(asked, caller, key)
        started = perf_counter()
        response = answer(made)
        decider.answered(perf_counter() - started)
        return response

    @api.post(
        "/batch",
        summary="Choose providers for several requests",
        response_model=None,
        responses={200: {"model": DecisionBatchOut}, **problems()},
        openapi_extra=takes(DecisionBatchIn),
    )
    async def decide_batch(request: Request) -> Response:
        """Each is made and kept by itself: some can fail while others do not."""
        caller = caller_of(request, "decide")
        asked = body_of(request, DecisionBatchIn).decisions
        service.check_batch(len(asked), caller)
        pairs = zip(asked, idempotency_keys(request, len(asked)), strict=True)
        found = await service.each([decider.decide(one, caller, key) for one, key in pairs], name="decision")
        return answer({"decisions": found})

    @api.get(
        "/{decision_id}",
        summary="Read a decision",
        response_model=None,
        responses={200: {"model": DecisionFullOut}, **problems(404)},
    )
    async def read_decision(request: Request, decision_id: str) -> Response:
        """The decision as it was answered, with what followed: the first 2,000 outcomes and judgements."""
        caller = caller_of(request, "read")
        # By its own name: what was told ahead of it can be more than is read at a time.
        decisions = await service.rows(Query(uids=(f"d:{decision_id}",))) if is_id(decision_id) else []
        if not decisions or not caller.may_route(decisions[0].route or ""):
            raise Problem("unknown-decision", "There is no decision of this id.")
        rows = await service.rows(Query(decision_id=decision_id))
        told = [row for row in rows if row.kind in ("outcome", "feedback")]
        told += await _on_its_session(service, decisions[0])
        made, prices = decision_of(decisions[0]), service.prices_of(decisions[0])
        return answer(
            {
                "decision": made,
                "events": [
                    event_of(row, made.selected, prices) for row in sorted(told, key=lambda row: row.seq)
                ],
                "status": "open" if service.is_open(decisions[0]) else "closed",
            }
        )

    return api
