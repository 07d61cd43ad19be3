"""Off-policy evaluation: what a target policy would have earned on a log that another policy wrote.

Five lines, from a log to a recommendation. Here two providers of quality .6 and .7 were chosen 70 : 30, and
the target policy would always choose the second one:

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> action = (rng.random(2_000) < 0.3).astype(int)
>>> reward = (rng.random(2_000) < np.array([0.6, 0.7])[action]).astype(float)
>>> propensity, target = np.array([0.7, 0.3])[action], np.tile([0.0, 1.0], (2_000, 1))

>>> batch = LoggedBatch(reward=reward, action=action, propensity=propensity, target=target)
>>> moments = Moments.of({"target": snips(batch), "logged": on_policy(batch)})
>>> gain = asymptotic(moments, difference("target", "logged"))
>>> findings = diagnose(WeightCounts.of(weight=batch.weight))
>>> print(recommend(gain, findings, target="the second", incumbent="today's mix").sentence)
Promote the second: against today's mix it earns +0.06464 quality
(interval +0.0335 to +0.09579 at 95% for a single look, 2,000 decisions).

The path of the data: a *batch* of logged decisions → *estimators*, which give per-decision *terms* →
*moments* or *resamples*, sums over decisions that the partitions of a log merge → an *estimate*, a value with
its interval → *findings* of the diagnostics → a *verdict*. docs/estimators.md has every formula, its
assumptions and how often each interval holds.

**Data**
    `LoggedBatch` has the checked columns of a log, `cross_fit` the predictions of a reward model for them.

**Estimators without a reward model**
    `on_policy`, `ips`, `clipped_ips`, `snips`, `sub_gaussian_ips`, `replay`; `replay_learning` plays a policy
    that learns through a log.

**Estimators with a reward model**
    `dm`, `dr`, `sndr`, `clipped_dr`, `switch_dr`, `shrunk_dr`, `sub_gaussian_dr`.

**All estimators**
    `ESTIMATORS` has each of these by the name that reports use. Each gives `Terms`. `slope`
    chooses the λ of an estimator that tames weights by `clip`, `switch` or `shrink`.

**Sums that merge**
    `Moments`, `Resamples` (by `resample`), `LogCounts`, `WeightCounts`; `merge` for those of several parts.

**Estimates with intervals**
    `Estimate`, by `asymptotic` (central limit theorem), `asymptotic_sequence` (may be watched), `percentile`
    (bootstrap) and `empirical_bernstein` (any number of decisions); of one estimate, of a `difference`, or of
    any contrast.
    `estimate_fixed_mix` compares with the best fixed mix of providers (`fixed_terms`).

**Verdict**
    `diagnose` returns a `Finding` per check, and `recommend` a `Verdict` from these and the gain.
"""

from fairlead.experiments.ope.bootstrap import Resamples, percentile, resample
from fairlead.experiments.ope.counts import LogCounts, WeightCounts
from fairlead.experiments.ope.diagnostics import Finding, diagnose
from fairlead.experiments.ope.estimators import (
    ESTIMATORS,
    clip,
    clipped_dr,
    clipped_ips,
    dm,
    dr,
    ips,
    on_policy,
    shrink,
    shrunk_dr,
    sndr,
    snips,
    sub_gaussian,
    sub_gaussian_dr,
    sub_gaussian_ips,
    switch,
    switch_dr,
)
from fairlead.experiments.ope.fixed_mix import FixedMix, estimate_fixed_mix, fixed_terms
from fairlead.experiments.ope.intervals import (
    Estimate,
    asymptotic,
    asymptotic_sequence,
    empirical_bernstein,
)
from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.moments import Contrast, Moments, difference, merge
from fairlead.experiments.ope.rejection import replay, replay_learning
from fairlead.experiments.ope.reward_models import cross_fit, random_folds
from fairlead.experiments.ope.terms import Terms
from fairlead.experiments.ope.tuning import Tuned, slope
from fairlead.experiments.ope.verdict import Recommendation, Verdict, recommend

# fmt: off
__all__ = [
    "ESTIMATORS", "Contrast", "Estimate", "Finding", "FixedMix", "LogCounts", "LoggedBatch", "Moments",
    "Recommendation", "Resamples", "Terms", "Tuned", "Verdict", "WeightCounts", "asymptotic",
    "asymptotic_sequence", "clip", "clipped_dr", "clipped_ips", "cross_fit",
    "diagnose", "difference", "dm", "dr", "empirical_bernstein", "estimate_fixed_mix",
    "fixed_terms", "ips", "merge", "on_policy", "percentile",
    "random_folds", "recommend", "replay", "replay_learning", "resample", "shrink", "shrunk_dr",
    "slope", "sndr", "snips", "sub_gaussian", "sub_gaussian_dr", "sub_gaussian_ips", "switch",
    "switch_dr",
]
