"""Confidence sequences: the boundary by numerical integration, coverage at all times at once, refusals."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammainc, gammaln

from fairlead.experiments.ope import confidence_sequences as sequences
from fairlead.experiments.ope.confidence_sequences import (
    asymptotic_sequence,
    dr_sequence,
    gain_sequence,
    ips_sequence,
    lower_sequence,
)
from fairlead.experiments.ope.importance import ips, snips
from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.experiments.ope.moments import Moments
from fairlead.optimizer.errors import InvalidInput
from tests.experiments.ope.random_logs import random_batch


@pytest.mark.parametrize(
    ("s", "v", "rho"), [(3.0, 5.0, 2.0), (20.0, 100.0, 60.0), (0.5, 0.0, 60.0), (8.0, 1.0, 0.03)]
)
def test_the_closed_mixture_is_the_integral(s: float, v: float, rho: float) -> None:
    constant = rho * math.log(rho) - gammaln(rho) - math.log(gammainc(rho, rho))

    def integrand(u: float) -> float:  # u = 1 − λ; the density's pole at 0 is integrated away by u = t^(1/ρ)
        density = math.exp(constant - rho * u) * u ** (rho - 1.0)
        return math.exp((1.0 - u) * s - v * (-math.log(u) - (1.0 - u))) * density

    def stretched(t: float) -> float:
        u = t ** (1.0 / rho)
        return integrand(u) * u ** (1.0 - rho) / rho if u > 0.0 else 0.0

    expected = math.log(quad(stretched, 0.0, 1.0, limit=500, epsabs=1e-13)[0])
    assert sequences._log_mixture(np.array([s]), np.array([v]), rho)[0] == pytest.approx(expected, abs=1e-5)


def test_the_boundary_is_where_the_mixture_reaches_one_over_alpha() -> None:
    alpha, variance = 0.025, np.array([0.5, 3.0, 40.0, 1_000.0])
    estimate = sequences._boundary(variance, alpha, 500.0)
    log = -2.0 * math.log(alpha)
    rho = 500.0 / (log + math.log1p(log))
    reached = sequences._log_mixture(estimate, variance, rho)
    assert (reached >= -math.log(alpha) - 1e-9).all()
    assert (sequences._log_mixture(0.98 * estimate, variance, rho) < -math.log(alpha)).all()
    assert (np.diff(estimate) > 0.0).all()


def test_heavy_tails_break_a_sequence_no_more_often_than_promised() -> None:
    rng = np.random.default_rng(0)
    misses = 0
    for _ in range(100):
        weight = np.where(rng.random(1_000) < 0.1, 10.0, 0.0)
        low = lower_sequence(weight, least=0.0, centre_at_most=1.0, alpha=0.1)
        misses += bool((low > 1.0).any())
    assert misses <= 10


def known_logs(seed: int, n: int) -> LoggedBatch:
    """Two providers of quality .8 and .3, logged 30 : 70; the target takes the first in 90 %."""
    rng = np.random.default_rng(seed)
    action = (rng.random(n) < 0.7).astype(np.int64)
    quality = np.array([0.8, 0.3])
    return LoggedBatch(
        reward=(rng.random(n) < quality[action]).astype(np.float64),
        action=action,
        propensity=np.array([0.3, 0.7])[action],
        target=np.tile([0.9, 0.1], (n, 1)),
        q_hat=np.tile([0.75, 0.35], (n, 1)),
    )


def test_sequences_hold_at_all_times_at_once() -> None:
    truth, gain = 0.9 * 0.8 + 0.1 * 0.3, 0.6 * 0.5
    held = {"ips": 0, "dr": 0, "gain": 0}
    for seed in range(60):
        log = known_logs(seed, 1_500)
        for name, (low, high), true in (
            ("ips", ips_sequence(log), truth),
            ("dr", dr_sequence(log, largest_weight=3.0), truth),
            ("gain", gain_sequence(log), gain),
        ):
            held[name] += bool(((low <= true) & (true <= high)).all())
    assert min(held.values()) >= 0.95 * 60


def test_sequences_shrink_and_never_widen() -> None:
    log = known_logs(0, 4_000)
    for low, high in (ips_sequence(log), dr_sequence(log, largest_weight=3.0), gain_sequence(log)):
        assert (np.diff(low) >= 0.0).all() and (np.diff(high) <= 0.0).all()
        assert high[-1] - low[-1] < 0.25 < high[0] - low[0]


def test_a_good_model_makes_the_sequence_shorter() -> None:
    log = known_logs(1, 4_000)
    good = dr_sequence(log, largest_weight=3.0)
    none = dr_sequence(replace(log, q_hat=np.zeros((4_000, 2))), largest_weight=3.0)
    assert good[1][-1] - good[0][-1] < none[1][-1] - none[0][-1]


def test_the_past_of_a_sequence_does_not_depend_on_its_future() -> None:
    log = known_logs(2, 800)
    half = LoggedBatch(
        reward=log.reward[:400],
        action=log.action[:400],
        propensity=log.propensity[:400],
        target=log.target[:400],
    )
    # The knots of the boundary depend on the last V: a rounding upwards by at most 1 %.
    np.testing.assert_allclose(ips_sequence(log)[0][:400], ips_sequence(half)[0], atol=5e-3)


def test_the_asymptotic_member_is_wider_than_the_normal_interval_and_not_twice() -> None:
    log = random_batch(5_000, 3, seed=0)
    moments = Moments.of({"ips": ips(log), "snips": snips(log)})
    estimate = asymptotic_sequence(moments, "snips")
    assert 1.96 < estimate.half_width / estimate.standard_error < 3.5


def test_what_the_theory_does_not_cover_is_refused() -> None:
    log = known_logs(0, 10)
    with pytest.raises(InvalidInput, match=r"reward of decision 3 is 1.5"):
        ips_sequence(replace(log, reward=np.where(np.arange(10) == 3, 1.5, 0.5)))
    with pytest.raises(InvalidInput, match="above largest_weight 2"):
        dr_sequence(log, largest_weight=2.0)
    with pytest.raises(InvalidInput, match="q_hat leaves"):
        dr_sequence(replace(log, q_hat=np.full((10, 2), 1.2)), largest_weight=3.0)
    with pytest.raises(InvalidInput, match="terms of decision 1 is -1"):
        lower_sequence(np.array([1.0, -1.0]), least=0.0, centre_at_most=1.0, alpha=0.05)
    with pytest.raises(InvalidInput, match="tightest_at is 0"):
        lower_sequence(np.ones(2), least=0.0, centre_at_most=1.0, alpha=0.05, tightest_at=0.0)
    with pytest.raises(InvalidInput, match="not above least"):
        lower_sequence(np.ones(2), least=0.0, centre_at_most=0.0, alpha=0.05)
