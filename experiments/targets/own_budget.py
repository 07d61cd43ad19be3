"""A budget that is paced by what a target would have spent, not by what the log's own policy spent."""

from __future__ import annotations

from collections import deque
from typing import Final

from fairlead.optimizer.router import Router
from fairlead.optimizer.selection.pacer import Pacer
from fairlead.optimizer.types import Budget, Context, Decision, Objective

_WINDOW: Final = 32
_SOLVE_EVERY: Final = 64


class OwnBudget:
    """The router's own pacer, booked with the spend that the target's distribution is expected to have.

    The log says what its choices cost, which is not what the target would have spent. Expected spend comes
    from the cost model, which learns from the log like everything else.
    """

    def __init__(self, budget: Budget) -> None:
        self._pacer = Pacer(budget)
        self._window: deque[tuple[Context, tuple[str, ...]]] = deque(maxlen=_WINDOW)
        self._since = 0

    def objective(self) -> Objective | None:
        """Return what money is worth at this moment; None if it does not count."""
        return _worth(self._pacer.shadow_price)

    def record(
        self, decision: Decision, *, router: Router, context: Context, candidates: tuple[str, ...]
    ) -> None:
        """Book the decision's expected spend; solve the shadow price again every few decisions."""
        spend = float(decision.probabilities @ decision.expected[2])
        self._pacer.request(spend, at_s=decision.at_s)
        self._window.append((context, candidates))
        self._since += 1
        # Often at first, when every decision changes the beliefs.
        if self._since >= min(_SOLVE_EVERY, 1 + self._pacer.requests // 4):
            self._solve(router, decision)
            self._since = 0

    def _solve(self, router: Router, decision: Decision) -> None:
        def spend_at(shadow_price: float) -> float:
            total = 0.0
            for context, candidates in self._window:
                answer = router.decide(
                    context, decision_id="asked", draw=0.5, candidates=candidates, at_s=decision.at_s,
                    objective=_worth(shadow_price),
                )  # fmt: skip
                total += float(answer.probabilities @ answer.expected[2])
            return total / len(self._window)

        self._pacer.update(spend_at, least_usd=float(decision.expected[2].min()))


def _worth(shadow_price: float) -> Objective | None:
    if shadow_price <= 0.0:
        return None
    return Objective(willingness_to_pay_usd=min(max(1.0 / shadow_price, 1e-12), 1e9))
