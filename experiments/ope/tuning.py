"""Choosing the hyper-parameter of an estimator from the log: by SLOPE, or by a bound of its squared error.

Both look at the rewards, so an interval around a tuned estimate that ignores the choice is a little too
short.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fairlead.experiments.ope.bounds import student_lower
from fairlead.experiments.ope.doubly_robust import corrected
from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.moments import Moments
from fairlead.experiments.ope.terms import Terms
from fairlead.experiments.ope.validation import Vector
from fairlead.experiments.ope.weights import Tame
from fairlead.optimizer.errors import InvalidInput, finite

CANDIDATES: Final = (1.0, 2.0, 5.0, 10.0, 50.0, 100.0, math.inf)
DELTA: Final = 0.1
_SLOPE: Final = math.sqrt(6.0) - 1.0


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The estimate at the chosen λ."""

    lam: float
    terms: Terms


def slope(
    decisions: LoggedBatch,
    tame: Tame,
    *,
    model: bool,
    candidates: Sequence[float] = CANDIDATES,
    delta: float = DELTA,
) -> Tuned:
    """Lepski's principle for off-policy estimates: the narrowest interval that agrees with all wider ones.

    Su, Srinath and Krishnamurthy (2020, *Adaptive estimator selection for off-policy evaluation*), with the
    constant √6 − 1 and the order by observed width of Tucker and Lee (2021). Widths are Student's at 1 − δ.
    `tame` is one of `weights`, and `model` whether it is put into DR or into IPS.
    """
    found = [_terms(decisions, tame(decisions.weight, lam), model) for lam in _checked(candidates)]
    moments = [Moments.of(terms) for terms in found]
    values = np.array([m.value() for m in moments])
    widths = values - np.array([student_lower(m, delta=delta) for m in moments])
    order = np.argsort(-widths, kind="stable")
    best = order[0]
    for rank, i in enumerate(order[1:], start=1):
        wider = order[:rank]
        if not (np.abs(values[wider] - values[i]) <= widths[i] + _SLOPE * widths[wider]).all():
            break
        best = i
    return Tuned(lam=float(candidates[best]), terms=found[best])


def least_error_bound(
    decisions: LoggedBatch,
    tame: Tame,
    *,
    model: bool,
    candidates: Sequence[float] = CANDIDATES,
    delta: float = DELTA,
) -> Tuned:
    """The λ of the smallest variance + (upper bound of the bias)² (Su et al. 2020, section 5)."""
    weight = decisions.weight
    residual = decisions.reward - decisions.q_logged if model else decisions.reward
    best: tuple[float, float, Terms] | None = None
    for lam in sorted(_checked(candidates)):
        tamed = tame(weight, lam)
        terms = _terms(decisions, tamed, model)
        variance = float(np.var(terms.plain)) / len(terms) if terms.plain is not None else math.inf
        error = variance + _bias_bound(weight, tamed, residual, delta) ** 2
        if best is None or error <= best[0]:  # of equals, that which changes the weights least
            best = (error, float(lam), terms)
    assert best is not None
    return Tuned(lam=best[1], terms=best[2])


def _terms(decisions: LoggedBatch, weight: Vector, model: bool) -> Terms:
    return corrected(decisions, weight) if model else Terms(plain=weight * decisions.reward)


def _bias_bound(weight: Vector, tamed: Vector, residual: Vector, delta: float) -> float:
    """|mean((w − ŵ)(r − q̂))| and what Bernstein's inequality adds to it with probability 1 − δ."""
    n = len(weight)
    log = math.log(2.0 / finite("delta", delta, low=1e-300, high=1.0, remedy="give one such as 0.1"))
    observed = abs(float(((weight - tamed) * residual).mean()))
    spread = math.sqrt(2.0 * float((weight**2).mean()) * log / n)
    return observed + spread + 2.0 * float(weight.max()) * log / (3.0 * n)


def _checked(candidates: Sequence[float]) -> Sequence[float]:
    if not len(candidates):
        raise InvalidInput("there are 0 candidates for lambda: give at least one")
    return candidates
