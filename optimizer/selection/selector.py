"""The selector: from predictions, rules and money to the logged distribution and the draw.

    prediction ─► rules ─► utility ─► policy ─► quotas of those on trial ─► floor ─► draw

This is the only place that draws, and what it draws from is what is logged.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.models.beliefs import Beliefs, Prediction
from fairlead.optimizer.models.pricing import TYPICAL_INPUT_TOKENS
from fairlead.optimizer.policies.base import Policy
from fairlead.optimizer.selection.eligibility import ConstraintChecker, require_eligible
from fairlead.optimizer.selection.exploration import BoolArray, Newcomers, newcomer_quota
from fairlead.optimizer.selection.shadow_price import Pacing
from fairlead.optimizer.selection.trial import Judgement, Standing
from fairlead.optimizer.types import Constraints, FloatArray, Objective, Route

MOSTLY: Final = 0.8
"""Share of a probability that the floor makes up where a provider is said to be on trial for its cost: one
that the policy chooses anyway is not, and comes where it belongs among the fallbacks."""


@dataclass(slots=True, kw_only=True)
class Selection:
    """One draw, and everything that it depended on; arrays have shape (k,)."""

    index: int
    probabilities: FloatArray
    floor: FloatArray
    ineligible: Mapping[str, str]
    """Name to reason for every provider that was ruled out."""
    on_trial: Mapping[str, str]
    """Name to reason for every provider that got no more than a quota."""
    relaxed: tuple[str, ...]
    """Limits that the selected provider is not believed to meet."""
    expected: FloatArray
    """`Decision.expected`."""
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
        new = self.newcomers.names - self._checker.always_ineligible
        is_new = [name in new for name in self.names]
        self.pacing.configure(self._route, self._beliefs, excluded=self._excluded(), newcomers=is_new)

    @property
    def has_limits(self) -> bool:
        """Whether the route itself has limits of cost or latency."""
        return self._checker.has_limits

    def update_excluded(self) -> bool:
        """Let the next solution of the shadow price know who is on trial now; returns False: it is done."""
        self.pacing.exclude(self._excluded())
        return False

    def _excluded(self) -> list[bool]:
        """Mark the providers that the policy never chooses: those ruled out, and those on trial.

        If there are only newcomers it chooses among them, and if no provider is left no price can help.
        """
        always = self._checker.always_ineligible
        if set(self.names) <= always:
            return [False for _ in self.names]
        if self._checker.has_limits or self._beliefs.circuits:
            centre = self._beliefs.quality.posterior.centre[None].copy()
            judgement = Judgement(
                self._checker, self._beliefs, self._beliefs.predict(centre, TYPICAL_INPUT_TOKENS)
            )
            eligible = np.array([name not in always for name in self.names])
            new = np.array([name in self.newcomers.names for name in self.names])
            standing = judgement.stand(eligible=eligible, newcomers=new, share=self.newcomers.share)
            return [not serves for serves in standing.serving.tolist()]
        excluded = always | self.newcomers.names
        return [name in (always if set(self.names) <= excluded else excluded) for name in self.names]

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
        judgement = self._judge(checker, prediction, ineligible)
        pacing.check_left(ineligible, self.names, cost_usd=prediction.cost_usd[0], at_s=at_s)
        require_eligible(ineligible, self.names, decision_id=decision_id)
        utility = pacing.utility(prediction, shadow_price=shadow_price, latency_weight=latency_weight)
        if ineligible:
            utility[0][0, [name in ineligible for name in self.names]] = -np.inf
        share = self._with_quotas if judgement is None else partial(self._with_trials, judgement)
        chances, on_trial = share(utility, cost_usd=prediction.cost_usd[0], ineligible=ineligible)
        chances, floor = self._with_floor(chances, no_floor=ineligible.keys() | on_trial.keys())
        return Selection(
            index=(index := sample(chances, draw)),
            probabilities=chances,
            floor=floor,
            ineligible=ineligible,
            on_trial=self._with_cost_trials(on_trial, (floor > 0.0) & (floor >= MOSTLY * chances)),
            relaxed=() if judgement is None else judgement.relaxed(index),
            expected=self._beliefs.expected_now(prediction),
            shadow_price=shadow_price,
            version=prediction.version + pacing.version,
        )

    def _judge(
        self, checker: ConstraintChecker, prediction: Prediction, ineligible: dict[str, str]
    ) -> Judgement | None:
        """Judge the providers by limits and circuits; None if nobody need be on trial for them."""
        if not checker.has_limits and not self._beliefs.circuits:
            return None
        judgement = Judgement(checker, self._beliefs, prediction)
        if checker.is_strict:
            judgement.rule_out(ineligible)
        return judgement if judgement.has_doubts else None

    def _with_cost_trials(self, on_trial: dict[str, str], are_low: BoolArray) -> Mapping[str, str]:
        """Add why providers get hardly more than the floor that they have for a trial of their cost, (k,)."""
        tried = self.pacing.on_trial
        if not tried:
            return on_trial
        low = [name for name, is_low in zip(self.names, are_low.tolist(), strict=True) if is_low]
        return {**{name: tried[name] for name in low if name in tried}, **on_trial}

    def _with_floor(self, chances: FloatArray, *, no_floor: Set[str]) -> tuple[FloatArray, FloatArray]:
        """Return the probabilities with the exploration floor under them, and that floor, (k,) both."""
        floor = self.pacing.floor
        if no_floor:
            floor = np.where([name in no_floor for name in self.names], 0.0, floor)
        if self.pacing.has_floor:
            chances = chances * (1.0 - floor.sum()) + floor
        return chances, floor

    def _with_trials(
        self,
        judgement: Judgement,
        utility: tuple[FloatArray, FloatArray],
        *,
        cost_usd: FloatArray,
        ineligible: dict[str, str],
    ) -> tuple[FloatArray, dict[str, str]]:
        """Return the policy's probabilities with the quotas of those on trial, (k,), and why they are.

        Those whose quota is 0 become ``ineligible``.
        """
        mean, spread = utility
        is_new = np.array([name in self.newcomers.names for name in self.names])
        share, target = self.newcomers.share, self.pacing.target_usd
        standing = judgement.stand(eligible=np.isfinite(mean[0]), newcomers=is_new, share=share)
        quota = standing.quota
        if is_new.any():
            affordable = newcomer_quota(is_new, cost_usd, target, share=share)
            quota = np.where(is_new, np.minimum(quota, affordable), quota)
        if standing.is_capped.any():
            quota[standing.is_capped] = np.minimum(
                quota[standing.is_capped], self._wanted(mean, spread, standing)
            )
        mean[0, ~standing.serving] = -np.inf
        chances = self._policy.probabilities(mean, spread)[0]
        ineligible |= judgement.reasons(standing.is_doubted & (quota <= 0.0))
        on_trial = judgement.reasons(standing.is_doubted & (quota > 0.0))
        return chances / chances.sum() * (1.0 - quota.sum()) + quota, on_trial

    def _wanted(self, mean: FloatArray, spread: FloatArray, standing: Standing) -> FloatArray:
        """Return what the policy would give each capped provider if it served beside those that do, (m,).

        Each by itself: a better one that is on trial too takes nothing from it, and so locks it out for as
        long as it is on trial itself.
        """
        capped = np.flatnonzero(standing.is_capped)
        rows = np.arange(len(capped))
        utility = np.repeat(np.where(standing.serving, mean, -np.inf), len(capped), axis=0)
        utility[rows, capped] = mean[0, capped]
        chances = self._policy.probabilities(utility, np.repeat(spread, len(capped), axis=0))
        return chances[rows, capped]

    def _with_quotas(
        self,
        utility: tuple[FloatArray, FloatArray],
        *,
        cost_usd: FloatArray,
        ineligible: dict[str, str],
    ) -> tuple[FloatArray, dict[str, str]]:
        """Return the policy's probabilities with newcomers' quotas, shape (k,), for utilities (1, k)."""
        mean, spread = utility
        newcomers = self.newcomers
        if not newcomers.names:
            return self._policy.probabilities(mean, spread)[0], {}
        # Newcomers get their quota below; the policy shares the rest among the others, if there are any.
        is_new = np.array([name in newcomers.names for name in self.names])
        if np.isfinite(mean[0, ~is_new]).any():
            mean[0, is_new] = -np.inf
        chances = newcomers.with_quotas(
            self._policy.probabilities(mean, spread)[0],
            names=self.names,
            cost_usd=cost_usd,
            ineligible=ineligible,
            target_usd=self.pacing.target_usd,
        )
        return chances, {}


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
