"""Choice of an estimator's hyper-parameter from the log, by SLOPE.

It looks at the rewards, so an interval around a tuned estimate, which ignores the choice, is a little too
short.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fairlead.experiments.ope.estimators import Tame, correct
from fairlead.experiments.ope.intervals import asymptotic
from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.moments import Moments
from fairlead.experiments.ope.terms import Terms
from fairlead.experiments.ope.validation import Vector
from fairlead.optimizer.errors import InvalidInput

CANDIDATES: Final = (1.0, 2.0, 5.0, 10.0, 50.0, 100.0, math.inf)
DELTA: Final = 0.1
_SLOPE: Final = math.sqrt(6.0) - 1.0


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The terms of the estimate at the chosen λ.

    >>> Tuned(lam=10.0, terms=Terms(plain=np.array([0.5, 0.7]))).terms.value
    0.6
    """

    lam: float
    terms: Terms


def slope(
    batch: LoggedBatch,
    tame: Tame,
    *,
    model: bool,
    candidates: Sequence[float] = CANDIDATES,
    delta: float = DELTA,
) -> Tuned:
    """Lepski's principle for off-policy estimates: the narrowest interval that agrees with all wider ones.

    Su, Srinath and Krishnamurthy (2020, *Adaptive estimator selection for off-policy evaluation*), with the
    constant √6 − 1 and the order by observed width of Tucker and Lee (2021). Widths are Student's at 1 − δ.
    `tame` is one of `weights`; with `model` it tames the weights of DR, else those of IPS.

    >>> from fairlead.experiments.ope.estimators import clip
    >>> half = np.full(400, 0.5)
    >>> batch = LoggedBatch(
    ...     reward=np.tile([1.0, 0.2], 200), action=np.tile([0, 1], 200), propensity=half,
    ...     target=np.tile([0.9, 0.1], (400, 1)),
    ... )
    >>> tuned = slope(batch, clip, model=False)
    >>> tuned.lam, round(tuned.terms.value, 2)
    (inf, 0.92)
    """
    if not candidates:
        raise InvalidInput("there are 0 candidates for lambda: give at least one")
    estimates = [_terms(batch, tame(batch.weight, lam), model=model) for lam in candidates]
    moments = [Moments.of(terms) for terms in estimates]
    values = np.array([m.value() for m in moments])
    widths = np.array([asymptotic(m, level=1.0 - 2.0 * delta).half_width for m in moments])
    order = np.argsort(-widths, kind="stable")
    best = order[0]
    for rank, i in enumerate(order[1:], start=1):
        wider = order[:rank]
        if not (np.abs(values[wider] - values[i]) <= widths[i] + _SLOPE * widths[wider]).all():
            break
        best = i
    return Tuned(lam=float(candidates[best]), terms=estimates[best])


def _terms(batch: LoggedBatch, weight: Vector, *, model: bool) -> Terms:
    return correct(batch, weight) if model else Terms(plain=weight * batch.reward)
