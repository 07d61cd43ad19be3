"""Definitions of every number of a report."""

from __future__ import annotations

from typing import Final

_TEXT: Final = """\
Quality: Mean reward in [0, 1] over the decisions that have one. A call that failed has one without being
  judged: 0, or what --failure-reward says.
As logged: What actually happened: means of the log under the policy that wrote it.
Value of a target: What the target policy would have earned on these same requests, estimated from the
  logged choices that it could have made too.
Gain: Value of the target minus that of the logging policy, both by the same estimator on the same
  decisions, so that the noise which they share cancels. It can differ a little from the target's value minus
  the mean as logged.
Utility: Quality − cost_usd / willingness to pay − latency_s × latency weight; the verdict is about it if
  there is a willingness to pay, else about quality.
Interval: The range of the value at the stated confidence, by the central limit theorem with Student's t
  (asymptotic). Bootstrap: percentiles over resamples, renormalised in each. Anytime: holds however often
  you look. Empirical Bernstein: holds for any number of decisions, for the IPS estimate of quality.
Weight: The target's probability of the logged choice divided by the probability with which it was drawn.
  Its mean should be 1.
ESS: Effective sample size, (Σ w)² / Σ w²: the number of the target's own decisions that would be worth
  as much as this log.
Best fixed mix: The best mixture of always-one-provider policies at the same spend (the upper hull of the
  providers' points). Lift is quality beyond that mix at the target's own spend: what routing adds.
ips: (1/n) Σ w r: inverse propensity scoring. Unbiased; its variance grows with the weights.
clipped-ips: IPS with weights cut at λ: less variable, biased towards 0.
snips: Σ w r / Σ w: self-normalised IPS.
sub-gaussian-ips: IPS with weights w / (1 − λ + λ w), whose tail is light.
rejection (learning): Mean reward of those logged decisions that a learning target would have made
  itself; it learns from these alone (Li et al. 2011). Its n is their number.
replay: Mean reward over the decisions whose logged choice is the target's most likely one (Li et al. 2011).
  Correct only if the logging policy was uniform.
dm: The reward model's prediction under the target. As biased as the model is wrong.
dr: DM plus weighted residuals: unbiased if the propensities or the model are right.
sndr: DR with self-normalised weights.
clipped-dr, switch-dr, shrunk-dr, sub-gaussian-dr: DR with limited weights: less variable, a little biased.
Reward model: Cross-fitted: no decision is predicted by a model that has seen its reward.
Targets that learn: They go through the log in order and answer each decision before they learn from it, so
  that none is evaluated on what it was trained on.
"""

DEFINITIONS: Final = [entry.split(": ", 1) for entry in _TEXT.replace("\n  ", " ").splitlines()]
"""Pairs of a word and its meaning."""
