"""A decision that outcomes and feedback may still come for, and what an event changed about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import numpy as np

from fairlead.optimizer.models.plausibility import PRICED_REACH, REACH, bin_of
from fairlead.optimizer.models.statistics import quantise
from fairlead.optimizer.types import Decision, Feedback, FloatArray, Outcome
from fairlead.optimizer.types.route import Prices

MOST_OUTPUT_TOKENS: Final = 2**17
MOST_INPUT_TOKENS: Final = 2**21
"""Longest answer and request of any model: usage up to these explains a cost that history does not."""


@dataclass(slots=True, kw_only=True, eq=False)
class OpenDecision:
    """One decision, what is in force for it, and what was predicted at the time.

    Only the router that holds it writes to it.
    """

    id: str
    seq: int
    selected: str
    features: FloatArray
    row: FloatArray | None
    """Features as they are learned from, quantised; None if they are not those of the present encoder."""
    providers: tuple[str, ...]
    predicted: FloatArray
    """Predicted reward of each provider if its call succeeds, and its standard deviation, shape (2, k)."""
    input_tokens: float
    expected_usd: float
    booked_usd: float
    """USD charged to the budget so far: what was expected, until the real cost is known."""
    prices: Mapping[str, Prices]
    """Price lists in force at its seq, by provider; one mapping is shared by all decisions under it."""
    at_s: float | None = None
    """When it was made; a budget with periods books its cost then."""
    task: str | None = None
    reward: float | None = None
    """The reward in [0, 1] of the feedback in force; None without any."""
    outcome: Outcome | None = None
    """The outcome in force."""
    attempt: Outcome | None = None
    """If another provider served: the latest outcome of the selected one's own call, if one was reported."""
    scores: dict[tuple[str, str], tuple[Feedback, float | None]] | None = None
    """Feedback in force by metric and source, each with its value scaled to [0, 1]."""

    @classmethod
    def of(cls, decision: Decision, prices: Mapping[str, Prices]) -> Self:
        """Open a decision under the price lists of its time."""
        expected_usd = decision.expected_usd
        return cls(
            id=decision.id,
            seq=decision.seq,
            selected=decision.selected,
            features=decision.features,
            # A fallback is made without features, and so says nothing about what depends on them.
            row=None if decision.fallback_used else quantise(decision.features),
            providers=decision.providers,
            predicted=_when_served(decision.expected),
            input_tokens=decision.input_tokens,
            expected_usd=expected_usd,
            booked_usd=expected_usd,
            prices=prices,
            at_s=decision.at_s,
            task=decision.task,
        )

    @property
    def provider(self) -> str:
        """The provider that learning credits: the one that served; until that is known, the selected one."""
        return self.selected if self.outcome is None else self.outcome.served_provider

    @property
    def failed_attempt(self) -> Outcome | None:
        """The failed call of the selected provider, if another one served after it."""
        return None if self.attempt is None or self.attempt.status == "ok" else self.attempt

    @property
    def calls(self) -> list[Outcome]:
        """The calls that are known: the one that served, and the selected provider's if it failed before."""
        return [outcome for outcome in (self.outcome, self.failed_attempt) if outcome is not None]

    @property
    def judged_reward(self) -> float | None:
        """The reward as quality learns it: None if the call failed, which the failure rate has learned."""
        return judged(self.reward, self.outcome)

    @property
    def is_encoded(self) -> bool:
        """Whether its features are those of the present encoder."""
        return self.row is not None

    @property
    def feedback(self) -> tuple[Feedback, ...]:
        """The feedback in force, one per metric and source, in the order of their names."""
        scores = self.scores or {}
        return tuple(scores[key][0] for key in sorted(scores))

    def cost_of(self, outcome: Outcome) -> float | None:
        """USD of an outcome of this decision (`cost_of`)."""
        return cost_of(outcome, self.prices.get(outcome.served_provider))


def _when_served(expected: FloatArray) -> FloatArray:
    predicted = expected[:2].copy()
    if np.count_nonzero(expected[5]):
        predicted[0] /= np.maximum(1.0 - expected[5], 1e-6)
    return predicted


class Change(NamedTuple):
    """What an event changed: take the old contribution of the decision out, and put the new one in."""

    decision: OpenDecision
    old_reward: float | None
    new_reward: float | None
    old_outcome: Outcome | None
    new_outcome: Outcome | None
    old_provider: str
    new_provider: str
    old_attempt: Outcome | None
    """`OpenDecision.failed_attempt`, as is ``new_attempt``."""
    new_attempt: Outcome | None


def judged(reward: float | None, outcome: Outcome | None) -> float | None:
    """Return the reward of a call with this outcome as quality learns it; None if the call failed."""
    return reward if outcome is None or outcome.status == "ok" else None


def cost_of(outcome: Outcome, prices: Prices | None) -> float | None:
    """USD of an outcome: as reported, or its usage at these prices; None if neither is known."""
    return outcome.cost_usd if outcome.cost_usd is not None else usage_usd(outcome, prices)


def usage_usd(outcome: Outcome, prices: Prices | None) -> float | None:
    """USD of an outcome's usage at these prices; None without usage or prices."""
    if prices is None or outcome.output_tokens is None:
        return None
    return prices.cost_usd(
        input_tokens=outcome.input_tokens or 0,
        output_tokens=outcome.output_tokens,
        cached_tokens=outcome.cached_tokens or 0,
    )


def is_near(outcome: Outcome, prices: Prices | None, *, expected_usd: float) -> bool:
    """Whether the cost of an outcome is plausible without any history.

    By what its usage costs at these prices, or else by what was expected; if neither is known it is.
    """
    usage = usage_usd(outcome, prices)
    if outcome.cost_usd is None:
        return is_possible(outcome)
    is_explained = bool(usage) and is_possible(outcome)
    basis_usd = usage if is_explained else expected_usd
    if not outcome.cost_usd or not basis_usd:
        return True
    reach = PRICED_REACH if is_explained else REACH
    return abs(bin_of(outcome.cost_usd / basis_usd) - bin_of(1.0)) <= reach


def is_possible(outcome: Outcome) -> bool:
    """Whether a call can have had such usage."""
    return (outcome.output_tokens or 0) <= MOST_OUTPUT_TOKENS and (
        outcome.input_tokens or 0
    ) <= MOST_INPUT_TOKENS
