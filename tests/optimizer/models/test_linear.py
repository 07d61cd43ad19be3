import numpy as np
import pytest

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.models.kernels import condition
from fairlead.optimizer.models.linear import GROWTH, PAST_WORTH, LinearBelief
from fairlead.optimizer.models.statistics import quantise

WIDTH = 2
BLOCKS = (Block("context", WIDTH, isotropic=False),)


def belief(*names) -> LinearBelief:
    linear = LinearBelief(BLOCKS, prior_mean=0.5, prior_variance=0.1)
    linear.set_providers(names or ("a", "b"))
    return linear


def stream(n, seed=0, level=0.5):
    """Yield (provider, row, target, seq) of n observations, turn by turn."""
    rng = np.random.default_rng(seed)
    for seq in range(n):
        features = rng.normal(size=WIDTH)
        target = float(np.clip(level + 0.2 * features[0] + 0.1 * rng.normal(), 0, 1))
        yield "ab"[seq % 2], quantise(features), target, seq


def fold(linear, seen, sign=1):
    for name, row, target, seq in seen:
        linear.add(name, row, target, seq=seq, sign=sign)
    return linear


def assert_same(first, second):
    left, right = first.statistics(), second.statistics()
    assert left.keys() == right.keys()
    for name in left:
        for key in left[name]:
            np.testing.assert_array_equal(left[name][key], right[name][key])


def test_batch_and_one_at_a_time_end_in_the_same_posterior():
    batch, incremental = fold(belief(), stream(300)), belief()
    for name, row, target, seq in stream(300):
        incremental.add(name, row, target, seq=seq)
        if incremental.needs_fit:
            incremental.refit()
    batch.refit()
    incremental.refit()
    assert_same(batch, incremental)
    for field in ("mean", "cov", "noise", "weights", "centre"):
        left, right = getattr(batch.posterior, field), getattr(incremental.posterior, field)
        np.testing.assert_array_equal(left, right)


def test_one_request_is_predicted_as_among_many():
    linear = fold(belief(), stream(100))
    linear.refit()
    rows = np.column_stack([np.ones(5), np.random.default_rng(1).normal(size=(5, WIDTH))])
    mean, variance = linear.predict(rows)
    for i in range(5):
        one_mean, one_variance = linear.predict(rows[i : i + 1])
        np.testing.assert_allclose(one_mean[0], mean[i], rtol=1e-12)
        np.testing.assert_allclose(one_variance[0], variance[i], rtol=1e-9)
    expected = np.einsum("nd,kde,ne->nk", rows, linear.posterior.cov, rows)
    np.testing.assert_allclose(variance, expected, rtol=1e-9)


def test_a_change_moves_what_lay_before_it_to_the_past():
    seen = list(stream(100))
    linear = fold(belief(), seen)
    later = [(row, target) for name, row, target, seq in seen if name == "a" and seq >= 60]
    linear.mark_change("a", 60, later)
    assert linear.count("a") == 20
    assert linear.count("b") == 50
    clean = belief()
    clean.changes["a"] = 60
    assert_same(linear, fold(clean, seen))


def test_the_past_counts_for_a_few_observations_only():
    linear = belief("a")
    rng = np.random.default_rng(2)
    for seq in range(2_000):
        linear.add("a", quantise(rng.normal(size=WIDTH)), 0.9 + 0.1 * rng.normal(), seq=seq)
    recent = [(quantise(rng.normal(size=WIDTH)), 0.5 + 0.1 * rng.normal()) for _ in range(45)]
    linear.mark_change("a", 2_000, [])
    linear.refit()
    at = linear.posterior.centre[None]
    _, wide = linear.predict(at)
    for i, (row, target) in enumerate(recent):
        linear.add("a", row, target, seq=2_000 + i)
    linear.refit()
    mean, narrow = linear.predict(at)
    share = PAST_WORTH / (PAST_WORTH + 45)
    assert mean[0, 0] == pytest.approx(share * 0.9 + (1 - share) * 0.5, abs=0.05)
    assert narrow[0, 0] < wide[0, 0]


def test_a_change_widens_the_belief():
    linear = fold(belief(), stream(400))
    linear.refit()
    at = linear.posterior.centre[None]
    _, before = linear.predict(at)
    linear.mark_change("a", 400, [])
    assert linear.needs_fit
    linear.refit()
    _, after = linear.predict(at)
    assert after[0, 0] > 5 * before[0, 0]
    assert after[0, 1] < 3 * before[0, 1]


def test_late_and_withdrawn_observations_fall_on_their_own_side_of_a_change():
    seen = list(stream(100))
    late = [row for row in seen if row[3] % 5 == 0]
    early = [row for row in seen if row[3] % 5 != 0]
    linear = fold(belief(), early)
    later = [(row, target) for name, row, target, seq in early if name == "a" and seq >= 50]
    linear.mark_change("a", 50, later)
    fold(linear, late[::-1])
    fold(linear, seen[10:20], sign=-1)
    clean = belief()
    clean.changes["a"] = 50
    fold(clean, seen[:10] + seen[20:])
    assert_same(linear, clean)


def test_a_second_change_moves_the_boundary_and_keeps_every_observation():
    seen = list(stream(120))
    linear = fold(belief(), seen)
    for since in (40, 90):
        linear.mark_change("a", since, [(r, y) for name, r, y, seq in seen if name == "a" and seq >= since])
    clean = belief()
    clean.changes["a"] = 90
    assert_same(linear, fold(clean, seen))


def test_the_posterior_is_due_as_observations_grow():
    linear = belief("a", "b")
    fits = []
    for name, row, target, seq in stream(2_000):
        linear.add(name, row, target, seq=seq)
        if linear.needs_fit:
            linear.refit()
            fits.append(seq + 1)
    assert fits[:5] == [1, 2, 3, 4, 6]
    gaps = np.diff(fits)
    # Never less often than the growth of all observations asks for, nor much more often.
    assert all(gap <= max(1, (GROWTH - 1) * at + 1) for gap, at in zip(gaps, fits, strict=False))
    assert len(fits) < 40
    assert linear.version == len(fits) + 1


def gaussian(seed, d=4):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d))
    return rng.normal(size=d), root @ root.T + np.eye(d), rng.normal(size=d)


def conditioned(mean, cov, x, *, target=0.7, noise, centre):
    """Call `condition` on copies: whether it could, then mean, covariance and variance at the centre."""
    level = np.array([0.0, centre @ cov @ centre])
    mean, cov = np.array([0.0 * mean, mean]), np.array([0.0 * cov, cov])
    done = condition((mean, cov, centre, level), 1, x, target, noise)
    assert not mean[0].any() and not cov[0].any() and level[0] == 0.0
    return done, mean[1], cov[1], level[1]


@pytest.mark.parametrize("seed", range(5))
def test_conditioning_is_the_gaussian_posterior_worked_by_hand(seed):
    mean, cov, x = gaussian(seed)
    centre = np.eye(4)[0]
    done, after, narrower, level = conditioned(mean, cov, x, noise=0.3, centre=centre)
    precision = np.linalg.inv(cov) + np.outer(x, x) / 0.3
    assert done
    np.testing.assert_allclose(narrower, np.linalg.inv(precision), rtol=1e-9, atol=1e-12)
    expected = np.linalg.solve(precision, np.linalg.solve(cov, mean) + x * 0.7 / 0.3)
    np.testing.assert_allclose(after, expected, rtol=1e-9)
    assert level == pytest.approx(narrower[0, 0], rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_taken_back_leaves_the_belief_as_it_was(seed):
    mean, cov, x = gaussian(seed)
    centre = np.eye(4)[0]
    _, after, narrower, _ = conditioned(mean, cov, x, noise=30.0, centre=centre)
    done, again, wide, level = conditioned(after, narrower, x, noise=-30.0, centre=centre)
    assert done
    np.testing.assert_allclose(again, mean, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(wide, cov, rtol=1e-8, atol=1e-10)
    assert level == pytest.approx(cov[0, 0], rel=1e-8)


def test_an_observation_that_a_belief_does_not_hold_is_not_taken_from_it():
    mean, cov, x = gaussian(0)
    done, after, same, _ = conditioned(mean, cov, 10 * x, noise=-0.3, centre=np.eye(4)[0])
    assert not done
    np.testing.assert_array_equal(after, mean)
    np.testing.assert_array_equal(same, cov)


def test_between_two_fits_the_belief_follows_what_comes():
    linear = fold(belief(), stream(200))
    linear.refit()
    version = linear.version
    late = list(stream(230, seed=5))[200:]
    fold(linear, late)
    assert linear.version == version and not linear.needs_fit
    row = np.array([[1.0, 0.3, -0.2]])
    followed, width = linear.predict(row)
    linear.refit()
    fitted, exact = linear.predict(row)
    np.testing.assert_allclose(followed, fitted, atol=0.02)
    np.testing.assert_allclose(width, exact, rtol=0.5)
    np.testing.assert_allclose(
        linear.level_variance, (linear.posterior.cov @ linear.posterior.centre) @ linear.posterior.centre
    )


def test_taking_back_what_the_belief_cannot_spare_makes_a_fit_due():
    linear = belief("a")
    row = quantise(np.array([8.0, -8.0]))
    linear.add("a", row, 0.9, seq=0, sign=-1)
    assert linear.needs_fit


def test_a_provider_that_leaves_and_returns_is_remembered():
    linear = fold(belief(), stream(200))
    linear.refit()
    before = linear.posterior.mean.copy()
    linear.set_providers(("b",))
    assert linear.posterior.mean.shape == (1, WIDTH + 1)
    np.testing.assert_array_equal(linear.posterior.mean[0], before[1])
    linear.set_providers(("a", "b", "c"))
    assert linear.needs_fit
    linear.refit()
    np.testing.assert_allclose(linear.posterior.mean[:2], before, atol=0.01)
    assert linear.count("c") == 0


def test_members_are_named_and_sum_to_one():
    linear = fold(belief(), stream(200))
    linear.refit()
    assert sum(linear.members.values()) == pytest.approx(1.0)
    assert sum(weight for name, weight in linear.members.items() if name.startswith("all@")) > 0.99


def test_judgements_since_a_change_are_counted_by_the_order_of_decisions():
    linear = belief("a", "b")
    fold(linear, list(stream(60)))
    assert linear.since_change == 60
    linear.mark_change("a", 60, [])
    assert linear.since_change == 0
    # Late news of what was decided before the change does not count, what was decided after it does.
    fold(linear, list(stream(100))[40:])
    assert linear.since_change == 40


def test_conditioning_stays_a_belief_over_a_hundred_thousand_observations():
    """Many more than ever come between two fits: compared with the precision summed up and inverted once."""
    rng = np.random.default_rng(8)
    d, n, noise = 6, 100_000, 0.2
    rows = np.column_stack([np.ones(n), rng.normal(size=(n, d - 1)) * [1.0, 1.0, 0.01, 8.0, 1.0]])
    rows[:, 5] = rows[:, 1] + 1e-3 * rows[:, 5]
    targets = rows @ rng.normal(size=d) + 0.4 * rng.normal(size=n)
    mean, cov, level = np.zeros(d), np.eye(d), np.ones(1)
    for x, y in zip(rows, targets.tolist(), strict=True):
        condition((mean[None], cov[None], rows[0], level), 0, x, y, noise)
    precision = np.eye(d) + rows.T @ rows / noise
    np.testing.assert_allclose(cov @ precision, np.eye(d), atol=1e-6)
    np.testing.assert_allclose(mean, np.linalg.solve(precision, rows.T @ targets / noise), rtol=1e-6)
    assert np.linalg.eigvalsh(cov).min() > 0
