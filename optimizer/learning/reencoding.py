"""Everything that a route has learned, in the features of another encoder of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.features.text import TextChange
from fairlead.optimizer.learning.evidence import EvidenceInForce
from fairlead.optimizer.learning.ledger import Ledger
from fairlead.optimizer.learning.open_decision import OpenDecision
from fairlead.optimizer.learning.text_learner import TextLearner
from fairlead.optimizer.models.beliefs import Beliefs
from fairlead.optimizer.models.linear import LinearBelief
from fairlead.optimizer.models.statistics import Observation, quantise_many
from fairlead.optimizer.types import FloatArray, Outcome


class Encoded(NamedTuple):
    """The open decisions whose features are those of the present encoder."""

    decisions: list[OpenDecision]
    terms: list[bytes | None]
    """The terms of each; None without a text, or if they are kept no more."""
    units: Callable[[OpenDecision, Outcome], float | None]
    """Cost of an outcome in the units that are learned; None if it is not learned."""

    @classmethod
    def of(
        cls, ledger: Ledger, text: TextLearner, units: Callable[[OpenDecision, Outcome], float | None]
    ) -> Encoded:
        """Collect them from a ledger."""
        decisions = [decision for decision in ledger.decisions() if decision.row is not None]
        return cls(decisions, [text.terms_of(decision.seq) for decision in decisions], units)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reencoded:
    """The open decisions of a route, and what was learned from all, in the features of another encoder."""

    decisions: list[OpenDecision]
    features: FloatArray
    """Shape (n, width)."""
    rows: FloatArray
    """What is learned from, shape (n, width + 1)."""
    quality: LinearBelief
    cost: LinearBelief

    def adopt(self, beliefs: Beliefs) -> None:
        """Put it in force, provided that nothing was learned since."""
        for decision, features, row in zip(self.decisions, self.features, self.rows, strict=True):
            decision.features, decision.row = features, row
        beliefs.use(self.quality, self.cost)


def reencoded(
    encoded: Encoded,
    beliefs: Beliefs,
    evidence: EvidenceInForce | None,
    *,
    change: TextChange,
    blocks: Sequence[Block],
) -> Reencoded:
    """Encode what was learned anew, open decisions one by one and sums of closed ones by a linear map.

    Nothing changes, so that another thread may do it.
    """
    before = np.array([decision.features for decision in encoded.decisions])
    features = change.features(before.reshape(-1, change.width_before), encoded.terms)
    rows = quantise_many(features)
    quality: dict[str, list[Observation]] = {}
    cost: dict[str, list[Observation]] = {}
    for decision, row in zip(encoded.decisions, rows, strict=True):
        assert decision.row is not None, "a decision without a row is not encoded"
        reward, outcome = decision.judged_reward, decision.outcome
        units = None if outcome is None else encoded.units(decision, outcome)
        for target, observations in ((reward, quality), (units, cost)):
            if target is not None:
                seen = Observation(decision.seq, decision.row, row, target)
                observations.setdefault(decision.provider, []).append(seen)
    transform = change.transform()
    new_quality = beliefs.quality.reencoded(blocks, transform, quality)
    new_cost = beliefs.cost.reencoded(blocks, transform, cost)
    if evidence is not None:
        evidence.tell(new_quality, new_cost, change.after)
    new_quality.refit()
    new_cost.refit()
    return Reencoded(
        decisions=encoded.decisions, features=features, rows=rows, quality=new_quality, cost=new_cost
    )
