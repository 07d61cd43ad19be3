"""Confidence sequences by betting: bounds of a gain or a value that hold however often one looks.

They hold on logs of policies that learn, for any number of decisions, and when the gain itself drifts. With X
the pseudo-outcome of a decision, whose conditional mean is its gain μ, and a bet λ, the wealth
∏ (1 + λ X) exp(−λ μ) is a supermartingale, since 1 + x ≤ exp(x). A mixture of bets then exceeds 1 / α with
probability α at most, at all times together (Ville 1939), and what it leaves are lower bounds of the mean of
μ so far. Upper bounds are lower bounds of what is lost. X is doubly robust (Waudby-Smith, Wu, Ramdas,
Karampatziakis and Mineiro 2022, *Anytime-valid off-policy inference for contextual bandits*); mixtures of
bets go back to Robbins (1970). Sums of log wealth add up, so partitions of a log merge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from fairlead.experiments.ope.grouping import sum_by
from fairlead.experiments.ope.intervals import LEVEL, Estimate, check_level
from fairlead.experiments.ope.validation import Flags, Integers, Matrix, Vector, check, matrix, same_length
from fairlead.optimizer.errors import InvalidInput

BETS: Final[Vector] = 0.9 * 2.0 ** (-np.arange(27) / 2.0)
"""The bets λ of the mixture, from the largest that a loss of 1 allows to one for a million decisions."""

# The prior of a bet: about even where a log of 500 to 100,000 decisions has its best one.
_PRIOR: Final[Vector] = np.sqrt(np.minimum(BETS / 0.005, 1.0)) * np.minimum(0.2 / BETS, 1.0)
_LARGEST_LOSS: Final = 0.98  # of the wealth, in one bet: what is left must stay above 0
_CLUSTER_LOSS: Final = 2.0  # of one decision within a cluster, in units of the scale
_PRIOR_DECISIONS: Final = 10.0  # that a value's centre of 1/2 counts as
_ROUNDING: Final = 1e-9
METHOD: Final = "confidence sequence"
BY_CLUSTER: Final = "confidence sequence, by cluster"
_STEPS: Final = 80  # of bisection: more than doubles can tell apart


@dataclass(frozen=True, kw_only=True, eq=False)
class PseudoOutcomes:
    """The two parts of X = outcome + s · control for n decisions, shape (n,) each, and their smallest values.

    The mean of `control` is 0 whatever the reward model predicts (less without support): it takes away what
    the model explains. The share s, from 0 to 1, is chosen before the reward is seen, so that λ X stays above
    −1.
    """

    outcome: Vector
    control: Vector
    outcome_floor: Vector
    control_floor: Vector

    def __len__(self) -> int:
        """Return the number of decisions."""
        return len(self.outcome)

    def at(self, loss: float) -> Vector:
        """Return X, shape (n,), with s as large as keeps X at −`loss` or above."""
        room = np.maximum(loss + self.outcome_floor, 0.0)
        share = np.minimum(room / np.maximum(-self.control_floor, 1e-300), 1.0)
        return np.asarray(np.maximum(self.outcome + share * self.control, -loss), dtype=np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Ends:
    """Pseudo-outcomes of what is won, for the lower end, and of what is lost, for the upper one.

    They are in units of `unit`, and `offset` (n,) is what has to be added to their mean, in the unit of the
    reward.
    """

    won: PseudoOutcomes
    lost: PseudoOutcomes
    unit: float
    offset: Vector


@dataclass(frozen=True, kw_only=True)
class RewardRange:
    """The range [low, high] that no reward leaves, in its own unit."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InvalidInput(
                f"the range of the reward is {self.low:g} to {self.high:g}: give finite ends, low below high"
            )

    @property
    def width(self) -> float:
        """The length of the range."""
        return self.high - self.low


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """What happened: rewards (n,) within `within`, the columns (n,) of the drawn, and probabilities (n, k).

    `logging` has 0 where a provider could not be drawn. `q_hat` (n, k) predicts the rewards from the context
    and *earlier* decisions alone (`predict_from_past`); predictions outside the range are cut. `earlier`
    (n,) is how many came before each; without it all that stand before.
    """

    reward: Vector
    action: Integers
    logging: Matrix
    q_hat: Matrix
    within: RewardRange = RewardRange()
    earlier: Integers | None = None

    def __post_init__(self) -> None:
        total = self.q_hat @ np.ones(self.q_hat.shape[1])
        remedy = "fit the reward model again"
        check(total, np.isfinite(total), name="q_hat", rule="not finite", remedy=remedy)
        logging = matrix("logging", self.logging)
        same_length({"reward": self.reward, "action": self.action, "logging": logging, "q_hat": self.q_hat})
        scaled = (self.reward - self.within.low) / self.within.width
        fine = (scaled >= -_ROUNDING) & (scaled <= 1.0 + _ROUNDING)
        rule = f"outside the range {self.within.low:g} to {self.within.high:g} that was declared"
        check(self.reward, fine, name="reward", rule=rule, remedy="declare a range that holds every reward")

    @property
    def scaled(self) -> Vector:
        """Rewards in [0, 1]."""
        return np.clip((self.reward - self.within.low) / self.within.width, 0.0, 1.0)

    @property
    def predicted(self) -> Matrix:
        """Predictions in [0, 1]."""
        return np.clip((self.q_hat - self.within.low) / self.within.width, 0.0, 1.0)


def gain_ends(trial: Trial, *, target: Matrix, baseline: Matrix, scale: float = 1.0) -> Ends:
    """Return the pseudo-outcomes of the gain of `target` over `baseline`, both (n, k).

    `scale` bounds the baseline's probability of any choice over that of drawing it: 1 if the baseline is the
    logging policy, 1 / share if each of the two policies has at least that share of the decisions.
    Choices of the target that the log could not have made count as the worst at the lower end, and as
    the best at the upper one; the baseline may not have such choices.
    """
    coefficient, covered = _change(trial, target - baseline)
    level = np.zeros(len(trial.reward))
    won = _pseudo_outcomes(trial, coefficient, covered, level=level, scale=scale, losses=False)
    lost = _pseudo_outcomes(trial, coefficient, covered, level=level, scale=scale, losses=True)
    return Ends(won=won, lost=lost, unit=scale * trial.within.width, offset=level)


def value_ends(trial: Trial, *, target: Matrix) -> Ends:
    """Return the pseudo-outcomes of the value of `target` (n, k), around the mean predicted so far."""
    coefficient, covered = _change(trial, target)
    expected = (covered * trial.predicted).sum(axis=1)
    count = np.arange(len(expected)) if trial.earlier is None else trial.earlier
    so_far = np.concatenate([[0.0], np.cumsum(expected)])[count]
    centre = (0.5 * _PRIOR_DECISIONS + so_far) / (_PRIOR_DECISIONS + count)
    won = _pseudo_outcomes(trial, coefficient, covered, level=centre, scale=1.0, losses=False)
    lost = _pseudo_outcomes(trial, coefficient, covered, level=1.0 - centre, scale=1.0, losses=True)
    offset = trial.within.low + trial.within.width * centre
    return Ends(won=won, lost=lost, unit=trial.within.width, offset=offset)


def _change(trial: Trial, change: Matrix) -> tuple[Matrix, Matrix]:
    """Return the change over the logging probability, and the change itself, both 0 where the latter is 0."""
    supported = trial.logging > 0.0
    coefficient = np.where(supported, change / np.where(supported, trial.logging, 1.0), 0.0)
    return coefficient, np.where(supported, change, 0.0)


def _pseudo_outcomes(
    trial: Trial, coefficient: Matrix, covered: Matrix, *, level: Vector, scale: float, losses: bool
) -> PseudoOutcomes:
    rows = np.arange(len(trial.reward))
    reward, predicted = trial.scaled, trial.predicted
    if losses:
        reward, predicted = 1.0 - reward, 1.0 - predicted
    factor = coefficient[rows, trial.action]
    expected = (covered * predicted).sum(axis=1)
    controls = np.where(trial.logging > 0.0, expected[:, None] - coefficient * predicted, np.inf)
    floor = np.minimum(coefficient.min(axis=1), 0.0) - level
    fine = floor >= -scale * (1.0 + _ROUNDING)
    rule, remedy = f"below −{scale:g}", "give the scale that bounds it"
    check(floor, fine, name="the smallest pseudo-outcome", rule=rule, remedy=remedy)
    return PseudoOutcomes(
        outcome=(factor * reward - level) / scale,
        control=(expected - factor * predicted[rows, trial.action]) / scale,
        outcome_floor=np.maximum(floor / scale, -1.0),
        control_floor=np.minimum(controls.min(axis=1), 0.0) / scale,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Wealth:
    """Log wealth of every bet over n decisions (or clusters of them), from which both ends follow.

    `won` and `lost` hold Σ log(1 + λ X), shape (27,), of the bets that `usable` (27,) marks. `offset` is the
    total of the offsets, `n` counts decisions.

    >>> rng = np.random.default_rng(0)
    >>> action = (rng.random(4_000) < 0.5).astype(int)
    >>> trial = Trial(
    ...     reward=(rng.random(4_000) < np.array([0.6, 0.75])[action]).astype(float), action=action,
    ...     logging=np.full((4_000, 2), 0.5), q_hat=np.full((4_000, 2), 0.5),
    ... )
    >>> second = np.tile([0.0, 1.0], (4_000, 1))
    >>> gain = Wealth.of(gain_ends(trial, target=second, baseline=trial.logging)).interval()
    >>> f"at least {gain.low:.3f} and at most {gain.high:.3f}"
    'at least 0.059 and at most 0.109'
    """

    n: int
    won: Vector
    lost: Vector
    usable: Flags
    unit: float
    offset: float

    @classmethod
    def of(cls, ends: Ends) -> Wealth:
        """Sum over all decisions."""
        (wealth,) = cls.by(ends, np.zeros(len(ends.won), dtype=np.int64), 1)
        return wealth

    @classmethod
    def by(cls, ends: Ends, group: Integers, groups: int) -> list[Wealth]:
        """Sum over the decisions of each group, of which there are `groups`; `group` (n,) counts from 0."""
        won, lost = (_log_wealth(part, group, groups) for part in (ends.won, ends.lost))
        count = np.bincount(group, minlength=groups)
        offset = sum_by(group, ends.offset, groups)
        every = np.ones(len(BETS), dtype=bool)
        return [
            cls(
                n=int(count[i]),
                won=won[i],
                lost=lost[i],
                usable=every,
                unit=ends.unit,
                offset=float(offset[i]),
            )
            for i in range(groups)
        ]

    def merge(self, other: Wealth) -> Wealth:
        """Return the wealth over both sets of decisions, one after the other."""
        if self.unit != other.unit or (self.usable != other.usable).any():
            raise InvalidInput(
                f"wealth in units of {self.unit:g} and {other.unit:g} does not merge: bet alike in every part"
            )
        sums = {name: getattr(self, name) + getattr(other, name) for name in ("n", "won", "lost", "offset")}
        return replace(self, **sums)

    def interval(self, *, value: float = math.nan, level: float = LEVEL, share: int = 1) -> Estimate:
        """Return the bounds of the mean, each of which holds at `level` at all times together.

        With `share` questions asked at once, all their bounds hold together (Bonferroni). `value` is an
        estimate to go with them; without one it is the middle.
        """
        log_limit = math.log(share / (1.0 - check_level(level)))
        mean, low, high = self.offset / max(self.n, 1), -math.inf, math.inf
        if self.n and self.usable.any():
            # What no gain or value can exceed needs no evidence.
            low = mean + self.unit * max(self._bound(self.won, log_limit) / self.n, -1.0)
            high = mean - self.unit * max(self._bound(self.lost, log_limit) / self.n, -1.0)
        middle = 0.5 * (low + high) if math.isnan(value) else value
        return Estimate(
            value=middle, low=low, high=high, standard_error=math.nan, n=self.n, level=level, method=METHOD
        )

    def log_evidence(self, margin: float) -> float:
        """Return the log of the e-value against a mean of `margin` or less: wealth that is 1 on average then.

        Any stopping rule keeps its expectation, and over 1 / α the hypothesis may be rejected at α.
        """
        total = (margin * self.n - self.offset) / self.unit
        return self.mixture(self.won, total)

    @classmethod
    def empty(cls, *, unit: float) -> Wealth:
        """Return the wealth before any decision."""
        zero = np.zeros(len(BETS))
        return cls(n=0, won=zero, lost=zero, usable=zero == 0.0, unit=unit, offset=0.0)

    def mixture(self, log_wealth: Vector, total: float) -> float:
        """Return the log of what a mixture of these wealths (27,) is if the sum of the means is `total`."""
        if not self.usable.any():
            return 0.0
        prior = np.where(self.usable, _PRIOR, 0.0)
        terms = log_wealth - BETS * total + np.log(np.maximum(prior / prior.sum(), 1e-300))
        return float(np.logaddexp.reduce(terms[self.usable]))

    def _bound(self, log_wealth: Vector, log_limit: float) -> float:
        """Return the smallest total that the mixture does not exclude, by bisection: it falls in it."""
        low, high = -4.0 * self.n, 4.0 * self.n
        while self.mixture(log_wealth, low) < log_limit:
            low *= 2.0
        while self.mixture(log_wealth, high) > log_limit:
            high = 2.0 * abs(high)
        for _ in range(_STEPS):
            middle = 0.5 * (low + high)
            if self.mixture(log_wealth, middle) > log_limit:
                low = middle
            else:
                high = middle
        return low


def _log_wealth(part: PseudoOutcomes, group: Integers, groups: int) -> Matrix:
    """Return Σ log(1 + λ X) per group and bet, shape (groups, 27)."""
    totals = np.empty((groups, len(BETS)))
    for j, bet in enumerate(BETS.tolist()):
        grown = np.log1p(bet * part.at(_LARGEST_LOSS / bet))
        totals[:, j] = sum_by(group, grown, groups)
    return totals


@dataclass(frozen=True, kw_only=True, eq=False)
class ClusterSums:
    """Pseudo-outcomes summed within clusters, such as users, whose decisions depend on each other.

    Per cluster, in the order of `keys` (c,): what is `won`, `lost`, and the most that either can be below 0.
    Clusters are independent of each other; within one, draws and rewards may depend on each other at will.
    """

    keys: NDArray[np.uint64]
    count: Integers
    won: Vector
    lost: Vector
    largest_loss: Vector
    unit: float
    offset: float

    @classmethod
    def of(cls, ends: Ends, key: NDArray[np.uint64]) -> ClusterSums:
        """Sum over decisions by their clusters' keys (n,)."""
        keys, group = np.unique(key, return_inverse=True)
        won, lost = ends.won.at(_CLUSTER_LOSS), ends.lost.at(_CLUSTER_LOSS)
        columns = (won, lost, np.full(len(key), _CLUSTER_LOSS))
        sums = [sum_by(group, column, len(keys)) for column in columns]
        return cls(
            keys=keys.astype(np.uint64),
            count=np.bincount(group, minlength=len(keys)),
            won=sums[0],
            lost=sums[1],
            largest_loss=sums[2],
            unit=ends.unit,
            offset=float(ends.offset.sum()),
        )

    def merge(self, other: ClusterSums) -> ClusterSums:
        """Return the sums of both sets of decisions, which may share clusters."""
        keys, group = np.unique(np.concatenate([self.keys, other.keys]), return_inverse=True)

        def both(first: Vector, second: Vector) -> Vector:
            return sum_by(group, np.concatenate([first, second]), len(keys))

        return ClusterSums(
            keys=keys,
            count=sum_by(group, np.concatenate([self.count, other.count]) * 1.0, len(keys)).astype(np.int64),
            won=both(self.won, other.won),
            lost=both(self.lost, other.lost),
            largest_loss=both(self.largest_loss, other.largest_loss),
            unit=self.unit,
            offset=self.offset + other.offset,
        )

    @property
    def largest_share(self) -> float:
        """The share of the decisions that the largest cluster has."""
        return float(self.count.max() / self.count.sum())

    def asymptotic(self, *, value: float, level: float = LEVEL) -> Estimate:
        """Return an interval for a single look by the central limit theorem over clusters."""
        n, clusters = int(self.count.sum()), len(self.keys)
        mean = float(self.won.sum()) / n
        reach = math.inf
        if clusters > 1:
            spread = float(((self.won - mean * self.count) ** 2).sum()) * clusters / (clusters - 1)
            reach = (
                self.unit
                * float(stdtrit(clusters - 1, 0.5 + 0.5 * check_level(level)))
                * math.sqrt(spread)
                / n
            )
        middle = (self.offset + self.unit * float(self.won.sum())) / n
        return Estimate(
            value=value, low=middle - reach, high=middle + reach, standard_error=math.nan, n=n, level=level,
            method="asymptotic, by cluster",
        )  # fmt: skip

    def wealth(self) -> Wealth:
        """Bet on whole clusters, with the bets that no cluster can ruin."""
        usable = BETS * self.largest_loss.max() <= _LARGEST_LOSS
        bets = np.where(usable, BETS, 0.0)
        won, lost = (np.log1p(np.outer(sums, bets)).sum(axis=0) for sums in (self.won, self.lost))
        n = int(self.count.sum())
        return Wealth(n=n, won=won, lost=lost, usable=usable, unit=self.unit, offset=self.offset)
