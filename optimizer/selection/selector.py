"""The selector: from predictions, rules and money to the logged distribution and the draw.

    prediction ─► rules ─► utility ─► policy ─► newcomers' quotas ─► floor ─► draw

This is the only place that draws, and what it draws from is what is logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.models.beliefs import Beliefs, Prediction
from fairlead.optimizer.policies.base import Policy
from fairlead.optimizer.selection.eligibility import ConstraintChecker, require_eligible
from fairlead.optimizer.selection.exploration import Newcomers
from fairlead.optimizer.selection.shadow_price import Pacing
from fairlead.optimizer.types import Constraints, FloatArray, Objective, Route


@dataclass(slots=True, kw_only=True)
class Selection:
    """One draw, and everything that it depended on; arrays have shape (k,)."""

    index: int
    probabilities: FloatArray
    floor: FloatArray
    ineligible: Mapping[str, str]
    """Name to reason for every provider that was ruled out."""
    shadow_price: float
    version: int
    """`Router.model_version`."""


class Selector:
    """Rules, money and exploration of one route: chooses among its providers by their predictions."""

    def __init__(self, route: Route, policy: Policy, beliefs: Beliefs) -> None:
        self._policy = policy
        self._beliefs = beliefs
        self.newcomers = Newcomers(share=route.newcomer_share)
        self.pacing = Pacing(route, policy)
        self._use(route)
        self.update_price()

    def _use(self, route: Route) -> None:
        self._route = route
        self.names = tuple(provider.name for provider in route.providers)
        self._checker = ConstraintChecker(route.providers, route.constraints)

    def configure(self, route: Route) -> None:
        """Use another route from the next selection on; providers that it adds are newcomers."""
        before = self.names
        self._use(route)
        self.newcomers.configure(before, self.names, share=route.newcomer_share)
        self.update_price()

    def update_price(self) -> None:
        """Solve the shadow price again, after the route or its newcomers have changed."""
        self.pacing.configure(self._route, self._beliefs, excluded=self._excluded())

    def _excluded(self) -> list[bool]:
        """Mark the providers that the policy never chooses: those ruled out, and newcomers.

        If there are only newcomers it chooses among them, and if no provider is left no price can help.
        """
        always = self._checker.always_ineligible
        for excluded in (always | self.newcomers.names, always):
            if not set(self.names) <= excluded:
                return [name in excluded for name in self.names]
        return [False for _ in self.names]

    def select(
        self,
        prediction: Prediction,
        *,
        decision_id: str,
        draw: float,
        input_tokens: float,
        objective: Objective | None = None,
        constraints: Constraints | None = None,
        candidates: tuple[str, ...] | None = None,
        at_s: float | None = None,
    ) -> Selection:
        """Choose for one request by its prediction and by ``draw`` in [0, 1); changes nothing."""
        pacing = self.pacing
        shadow_price, latency_weight = pacing.weights(objective, at_s=at_s)
        checker = self._checker
        if constraints is not None:
            checker = ConstraintChecker(self._route.providers, self._route.constraints, constraints)
        ineligible = checker.check(candidates=candidates, input_tokens=input_tokens)
        pacing.check_left(ineligible, self.names, cost_usd=prediction.cost_usd[0], at_s=at_s)
        if checker.has_limits:
            self._check_limits(checker, prediction, ineligible)
        require_eligible(ineligible, self.names, decision_id=decision_id)
        mean, spread = prediction.utility(shadow_price=shadow_price, latency_weight=latency_weight)
        floor = pacing.floor
        if ineligible:
            out = np.array([name in ineligible for name in self.names])
            mean[0, out] = -np.inf
            floor = np.where(out, 0.0, floor)
        chances = self._probabilities(mean, spread, cost_usd=prediction.cost_usd[0], ineligible=ineligible)
        if pacing.has_floor:
            chances = chances * (1.0 - floor.sum()) + floor
        return Selection(
            index=sample(chances, draw),
            probabilities=chances,
            floor=floor,
            ineligible=ineligible,
            shadow_price=shadow_price,
            version=prediction.version + pacing.version,
        )

    def _check_limits(
        self, checker: ConstraintChecker, prediction: Prediction, ineligible: dict[str, str]
    ) -> None:
        beliefs, latency_s = self._beliefs, prediction.latency_s
        checker.check_limits(
            ineligible,
            cost_usd=beliefs.provable_cost(prediction.cost_usd[0]),
            latency_s=latency_s,
            tail_latency_s=beliefs.tail_latency_s if checker.limits_tail else latency_s,
        )

    def _probabilities(
        self, mean: FloatArray, spread: FloatArray, *, cost_usd: FloatArray, ineligible: Mapping[str, str]
    ) -> FloatArray:
        """Return the policy's probabilities with newcomers' quotas, shape (k,), for utilities (1, k)."""
        newcomers = self.newcomers
        if not newcomers.names:
            chances: FloatArray = self._policy.probabilities(mean, spread)[0]
            return chances
        # Newcomers get their quota below; the policy shares the rest among the others, if there are any.
        is_new = np.array([name in newcomers.names for name in self.names])
        if np.isfinite(mean[0, ~is_new]).any():
            mean[0, is_new] = -np.inf
        return newcomers.with_quotas(
            self._policy.probabilities(mean, spread)[0],
            names=self.names,
            cost_usd=cost_usd,
            ineligible=ineligible,
            target_usd=self.pacing.target_usd,
        )


def sample(probabilities: FloatArray, draw: float) -> int:
    """Return the index whose part of the distribution ``draw`` falls into; never one of probability 0."""
    try:
        fits = 0.0 <= draw < 1.0
    except TypeError:
        fits = False
    if not fits:
        raise InvalidInput(f"draw is {draw!r}: give a random number in [0, 1), uniform, for each decision")
    # A loop over a list: for some twenty numbers that is quicker than three calls on arrays.
    weights = probabilities.tolist()
    rest = draw * sum(weights)
    for index, weight in enumerate(weights):
        rest -= weight
        if rest < 0.0 < weight:
            return index
    return int(weights.index(max(weights)))
