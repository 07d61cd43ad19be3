"""The learned state of a route, for people."""

from __future__ import annotations

from typing import Final

from fairlead.api.problems import Problem
from fairlead.api.schemas.budgets import SharedBudgetIn, SharedBudgetOut
from fairlead.api.schemas.state import (
    AlarmOut,
    BudgetAlarmOut,
    BudgetStateOut,
    CircuitOut,
    QuarantineOut,
    ReadyOut,
    RouteStateOut,
    TaskBeliefOut,
    TaskOut,
    TextOut,
)
from fairlead.api.service.answers import timestamp
from fairlead.api.service.auth import Principal
from fairlead.api.service.service import Service
from fairlead.api.state.served_route import ServedRoute
from fairlead.api.state.shared_budgets import covers
from fairlead.api.state.text_key import text_problem
from fairlead.optimizer.types import CircuitChanged, Context, DriftAlarm, ImplausibleOutcome
from fairlead.optimizer.types.budget import BudgetAlarm, BudgetState

_MOST_ALARMS: Final = 100


def readiness(service: Service) -> ReadyOut:
    """Whether decisions come from the learned state, and how far a rebuild has got."""
    engine = service.engine
    until = engine.rebuild_until
    progress = 1.0 if engine.ready else (min(engine.rebuilt_to / until, 0.999) if until else 0.0)
    return ReadyOut(
        ready=engine.ready,
        progress=progress,
        seq=engine.fold.seq if engine.ready else engine.rebuilt_to,
        age_s=engine.age_s(),
        writing=service.writer.failing is None,
        problem=engine.problem or service.writer.failing,
    )


def route_state(service: Service, name: str, principal: Principal) -> RouteStateOut:
    """Return the learned state of a route; a problem if there is none that the principal may see."""
    engine = service.engine
    served = engine.fold.routes.get(name)
    if served is None or not principal.may_use(name):
        raise Problem("not-found", "There is no route of this name.")
    summary = served.router.summary()
    return RouteStateOut.model_validate(
        {
            "route": name,
            "ready": engine.ready,
            "broken": served.broken,
            "seq": served.state_at(engine.fold.seq)[0],
            "age_s": engine.age_s(served),
            "decisions": served.decisions,
            "fallbacks": served.fallbacks,
            "explored": served.explored,
            "open_decisions": len(served.opened),
            "spent_usd": served.spent_usd,
            "trust": summary["trust"],
            "text": text_answer(service, served),
            "shadow_price": summary["shadow_price"],
            "budget_usd_per_request": summary["target_usd"],
            "budget_spent_usd": summary["spent_usd"],
            "budget": budget_answer(served.router.budget_state(service.clock())),
            "budget_alarms": list(map(budget_alarm_answer, served.router.budget_alarms)),
            "newcomer_share": summary["newcomer_share"],
            "evidence": summary["evidence"],
            "providers": summary["providers"],
            "tasks": {task: _task(service, served, task) for task in sorted(served.tasks)},
            "alarms": [alarm_answer(alarm) for alarm in served.router.alarms[-_MOST_ALARMS:]],
            "circuit_changes": list(map(circuit_answer, served.router.circuit_changes[-_MOST_ALARMS:])),
            "quarantine": list(map(quarantine_answer, served.router.quarantine)),
        }
    )


def text_answer(service: Service, served: ServedRoute) -> TextOut | None:
    """Return what a route has learned of texts; None if it does not learn features of them."""
    if not served.learns_text:
        return None
    text = served.router.text
    return TextOut(
        encoder=None if text.encoder is None else text.encoder.version,
        texts=text.texts,
        seen=text.seen,
        next_fit_at=text.next_fit_at,
        problem=text_problem(served, service.engine.term_counter) or text.reason or None,
    )


def circuit_answer(change: CircuitChanged) -> CircuitOut:
    """Return a change of a circuit as it is answered."""
    return CircuitOut(
        provider=change.provider, state=change.state, at_order=change.at_seq, failures=change.failures
    )


def quarantine_answer(doubt: ImplausibleOutcome) -> QuarantineOut:
    """Return what is in quarantine as it is answered."""
    return QuarantineOut(
        provider=doubt.provider,
        quantity=doubt.quantity,
        value=doubt.value,
        expected=doubt.expected,
        likely_error=doubt.likely_error,
        decision_id=doubt.decision_id,
        at_order=doubt.at_seq,
        count=doubt.count,
    )


def _task(service: Service, served: ServedRoute, task: str) -> TaskOut:
    """Beliefs for the mean request of a task, found by asking for a decision on it."""
    count, total, tokens = served.tasks[task]
    context = Context(features=total / count, input_tokens=tokens / count, task=task)
    try:
        decision = served.router.decide(context, decision_id="state", draw=0.5, at_s=service.clock())
    except Exception:
        return TaskOut(decisions=count, providers={})  # a router that cannot decide has nothing to show
    beliefs = {
        candidate.provider: TaskBeliefOut(
            propensity=candidate.propensity,
            quality=candidate.expected.quality,
            quality_sd=candidate.expected.quality_sd,
            cost_usd=candidate.expected.cost_usd,
        )
        for candidate in decision.candidates
    }
    return TaskOut(decisions=count, providers=beliefs)


def budget_answer(state: BudgetState | None) -> BudgetStateOut | None:
    """Return where a budget stands as it is answered."""
    if state is None:
        return None
    return BudgetStateOut(
        period_start=timestamp(state.start_s),
        period_end=timestamp(state.end_s),
        limit_usd=state.limit_usd,
        spent_usd=state.spent_usd,
        utilisation=state.spent_usd / state.limit_usd,
        forecast_usd=state.forecast_usd,
        requests=state.requests,
        expected_requests=state.expected_requests,
    )


def sharing_routes(service: Service, body: SharedBudgetIn) -> list[str]:
    """Return the names of the routes that share a budget."""
    routes = service.engine.in_force.config.routes
    return [name for name, route in sorted(routes.items()) if covers(body, name, route)]


def shared_budget_answer(service: Service, body: SharedBudgetIn) -> SharedBudgetOut:
    """Return a shared budget as it is answered."""
    budget = service.engine.fold.shared.by_name.get(body.name)
    pacer = None if budget is None else budget.pacer
    return SharedBudgetOut(
        **dict(body),
        shared_by=sharing_routes(service, body),
        shadow_price=0.0 if pacer is None else pacer.shadow_price,
        state=budget_answer(None if budget is None else budget.look(service.clock())),
        alarms=[] if pacer is None else list(map(budget_alarm_answer, pacer.alarms)),
    )


def budget_alarm_answer(alarm: BudgetAlarm) -> BudgetAlarmOut:
    """Return an alarm of a budget as it is answered."""
    return BudgetAlarmOut(
        reason=alarm.reason,
        level=alarm.level,
        period_start=None if alarm.start_s is None else timestamp(alarm.start_s),
        period_end=None if alarm.end_s is None else timestamp(alarm.end_s),
        spent_usd=alarm.spent_usd,
        limit_usd=alarm.limit_usd,
        cheapest_usd=alarm.cheapest_usd,
        message=alarm.sentence,
    )


def alarm_answer(alarm: DriftAlarm) -> AlarmOut:
    """Return an alarm as it is answered."""
    # The addresses call the seq of a decision its order.
    return AlarmOut(
        provider=alarm.provider,
        quantity=alarm.quantity,
        task=alarm.task,
        since_order=alarm.since_seq,
        at_order=alarm.at_seq,
        before=alarm.before,
        after=alarm.after,
    )
