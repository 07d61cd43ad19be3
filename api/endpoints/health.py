"""Is it alive, is it ready, what has it learned, what does it count?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from fairlead.api.http.requests import StrictRoute, answer, caller_of, problems
from fairlead.api.problems import Problem
from fairlead.api.schemas.configuration import LiveOut, ReadyOut, RouteStateOut
from fairlead.api.service.service import Service
from fairlead.api.state.served_route import ServedRoute
from fairlead.optimizer.types import Context, DriftAlarm

_MOST_ALARMS = 100
_METRICS = {"text/plain": {"schema": {"type": "string"}, "example": "fairlead_ready 1.0\n"}}


def router(service: Service) -> APIRouter:
    """The addresses for whoever watches."""
    api = APIRouter(route_class=StrictRoute, tags=["state and health"])

    @api.get("/livez", summary="Is it alive?", response_model=None, responses={200: {"model": LiveOut}})
    async def live(request: Request) -> Response:
        return answer({"status": "alive"})

    @api.get(
        "/readyz",
        summary="Is it ready?",
        response_model=None,
        responses={200: {"model": ReadyOut}, 503: {"model": ReadyOut}},
    )
    async def ready(request: Request) -> Response:
        """503 while the state is being rebuilt: decisions are answered, by each route's default provider."""
        engine = service.engine
        until = engine.rebuild_until
        progress = 1.0 if engine.ready else (min(engine.rebuilt_to / until, 0.999) if until else 0.0)
        told = {
            "ready": engine.ready,
            "progress": progress,
            "seq": engine.fold.seq if engine.ready else engine.rebuilt_to,
            "age_s": engine.age_s(),
            "writing": service.writer.failing is None,
            "problem": engine.problem or service.writer.failing,
        }
        return answer(told, status=200 if engine.ready else 503)

    @api.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_model=None,
        response_class=PlainTextResponse,
        responses={200: {"content": _METRICS}, **problems()},
    )
    async def metrics(request: Request) -> Response:
        caller_of(request, "read")
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @api.get(
        "/v1/routes/{route}/state",
        summary="Read what a route has learned",
        response_model=None,
        responses={200: {"model": RouteStateOut}, **problems(404)},
    )
    async def state(request: Request, route: str) -> Response:
        """Beliefs of each provider, by task too; trust in context, shadow price, spend and drift alarms."""
        caller = caller_of(request, "read")
        served = service.engine.fold.routes.get(route)
        if served is None or not caller.may_route(route):
            raise Problem("not-found", "There is no route of this name.")
        return answer(route_state(service, route, served))

    return api


def route_state(service: Service, name: str, served: ServedRoute) -> dict[str, Any]:
    """What a route has learned."""
    told = served.router.summary()
    engine = service.engine
    return {
        "route": name,
        "ready": engine.ready,
        "broken": served.broken,
        "seq": engine.fold.seq,
        "age_s": engine.age_s(),
        "decisions": served.decisions,
        "fallbacks": served.fallbacks,
        "explored": served.explored,
        "open_decisions": len(served.router.open_decisions()),
        "spent_usd": served.spent_usd,
        "trust": told["trust"],
        "shadow_price": told["shadow_price"],
        "budget_usd_per_request": told["target_usd"],
        "budget_spent_usd": told["spent_usd"],
        "newcomer_share": told["newcomer_share"],
        "providers": told["providers"],
        "tasks": {task: _task(service, served, task) for task in sorted(served.tasks)},
        "alarms": [_alarm(alarm) for alarm in served.router.alarms[-_MOST_ALARMS:]],
    }


def _task(service: Service, served: ServedRoute, task: str) -> dict[str, Any]:
    """What is believed for the mean request of a task, by asking for a decision on it."""
    count, total, tokens = served.tasks[task]
    context = Context(features=total / count, input_tokens=tokens / count, task=task)
    found: dict[str, Any] = {"decisions": count, "providers": {}}
    try:
        decision = served.router.decide(context, decision_id="state", draw=0.5, at_s=service.clock())
    except Exception:
        return found  # a router that cannot decide has nothing to show
    for candidate in decision.candidates:
        found["providers"][candidate.provider] = {
            "propensity": candidate.propensity,
            "quality": candidate.expected.quality,
            "quality_sd": candidate.expected.quality_sd,
            "cost_usd": candidate.expected.cost_usd,
        }
    return found


def _alarm(alarm: DriftAlarm) -> dict[str, object]:
    # The addresses call a decision's seq its order.
    names = {"since_seq": "since_order", "at_seq": "at_order"}
    return {names.get(name, name): value for name, value in asdict(alarm).items()}
