from math import log

import numpy as np
import pytest
from scipy.stats import t as student

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.models.posterior import Mixture, Posterior, Sums
from tests.optimizer.models.by_hand import ByHand

LOOSE = ("all@10", "all@100")


def block(width, name="context") -> Block:
    return Block(name, width, isotropic=False)


def mixture(*blocks) -> Mixture:
    return Mixture(blocks, prior_mean=0.5, prior_variance=0.1)


def sums_of(data) -> Sums:
    """Sum up ``data``: (rows with intercept, targets) of each provider."""
    return Sums(
        np.array([x.T @ x for x, _ in data]),
        np.array([x.T @ y for x, y in data]),
        np.array([y @ y for _, y in data]),
        np.array([float(len(y)) for _, y in data]),
    )


def with_intercept(features) -> np.ndarray:
    return np.column_stack([np.ones(len(features)), features])


def sample(rng, weights, n, *, noise=0.2):
    """Draw one provider's data: y = weights · (1, features) + noise."""
    rows = with_intercept(rng.normal(size=(n, len(weights) - 1)))
    return rows, rows @ np.asarray(weights) + noise * rng.normal(size=n)


def trust(model: Mixture, belief: Posterior, contains: str) -> float:
    return sum(w for name, w in zip(model.names, belief.weights, strict=True) if contains in name)


def assert_is_explicit_mixture(data, *blocks):
    model = mixture(*blocks)
    belief = model.fit(sums_of(data))
    hand = ByHand(data)
    kept = [(n, w) for n, w in zip(model.names, belief.weights, strict=True) if w > 1e-3]
    total = sum(weight for _, weight in kept)
    parts = [(weight / total, *hand.member(name, blocks)) for name, weight in kept]
    mean = sum(weight * m for weight, m, _, _ in parts)
    outer = [np.einsum("ki,kj->kij", m - mean, m - mean) for _, m, _, _ in parts]
    cov = sum(weight * (c + o) for (weight, _, _, c), o in zip(parts, outer, strict=True))
    noise = sum(weight * s for weight, _, s, _ in parts)
    mean = mean.copy()
    mean[:, 0] += hand.level
    np.testing.assert_allclose(belief.mean, mean @ hand.to, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(belief.cov, hand.to.T @ cov @ hand.to, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(belief.noise, noise, rtol=1e-8)
    every = np.concatenate([x for x, _ in data])
    np.testing.assert_allclose(belief.centre, every.mean(axis=0), atol=1e-12)
    return belief


@pytest.mark.parametrize("counts", [(6,), (1, 9), (30, 2, 11)])
def test_without_context_it_is_the_mixture_worked_by_hand(counts):
    rng = np.random.default_rng(sum(counts))
    assert_is_explicit_mixture([sample(rng, [0.3 + 0.2 * i], n) for i, n in enumerate(counts)])


@pytest.mark.parametrize("slope", [0.0, 0.05, 0.3])
def test_with_context_it_is_the_mixture_worked_by_hand(slope):
    rng = np.random.default_rng(3)
    data = [sample(rng, [0.5, slope], 12), sample(rng, [0.6, -slope / 2], 25), sample(rng, [0.4, slope], 1)]
    assert_is_explicit_mixture(data, block(1))


def test_with_several_blocks_it_is_the_mixture_worked_by_hand():
    rng = np.random.default_rng(4)
    data = [sample(rng, [0.5, 0.2, 0.0, 0.02], 30), sample(rng, [0.6, -0.1, 0.1, 0.0], 40)]
    assert_is_explicit_mixture(data, block(1, "label"), block(2, "text"))


def test_one_provider_and_one_level_in_closed_form():
    y = np.array([0.0, 1.0, 1.0, 1.0])
    model = mixture()
    belief = model.fit(sums_of([(np.ones((4, 1)), y)]))
    # Around the mean of the targets there is nothing left for the level to explain.
    np.testing.assert_allclose(belief.mean, [[0.75]], atol=1e-12)
    noise = (0.1875 + 0.75 / 2) / 3.0
    common = 1.0 / (0.01 / 0.1875 + (1.0 - 1.0 / 5.0) / noise)
    variance = noise / 5.0 + belief.weights[1] * common / 25.0
    np.testing.assert_allclose(belief.cov, [[[variance]]], rtol=1e-9)
    np.testing.assert_allclose(belief.noise, [noise], rtol=1e-9)


def test_nothing_seen_gives_the_prior_alike_for_all():
    belief = mixture(block(2)).fit(sums_of([(np.empty((0, 3)), np.empty(0))] * 3))
    np.testing.assert_allclose(belief.mean[:, 0], 0.5)
    np.testing.assert_array_equal(belief.mean[:, 1:], 0.0)
    np.testing.assert_array_equal(belief.centre, [1.0, 0.0, 0.0])
    assert (belief.cov[:, 0, 0] > 0.09).all()
    assert (belief.cov == belief.cov[0]).all()
    assert belief.weights.sum() == pytest.approx(1.0)


def sequential_evidence(hand: ByHand, precision) -> float:
    """Log of the product of Student predictive likelihoods, refitting before every observation."""
    total = 0.0
    for x, y in hand.data:
        for i in range(len(y)):
            seen, targets = x[:i], y[:i]
            a = seen.T @ seen + np.diag(precision)
            w = np.linalg.solve(a, seen.T @ targets)
            shape = 1.0 + i / 2
            rate = hand.spread + (targets @ targets - w @ seen.T @ targets) / 2
            scale = np.sqrt(rate / shape * (1.0 + x[i] @ np.linalg.solve(a, x[i])))
            total += student.logpdf(y[i], 2 * shape, loc=x[i] @ w, scale=scale)
    return total


def test_weights_are_the_products_of_sequential_predictive_likelihoods():
    rng = np.random.default_rng(5)
    blocks = (block(1, "label"), block(2, "text"))
    data = [sample(rng, [0.5, 0.1, 0.0, 0.05], 25), sample(rng, [0.6, -0.1, 0.1, 0.0], 18)]
    model, hand = mixture(*blocks), ByHand(data)
    belief = model.fit(sums_of(data))
    alone = [name for name in model.names if not name.endswith("pooled")]
    weights = dict(zip(model.names, belief.weights, strict=True))
    expected = {name: sequential_evidence(hand, hand.precision(name, blocks)) for name in alone}
    for name in alone:
        difference = log(weights[name]) - log(weights["none"])
        assert difference == pytest.approx(expected[name] - expected["none"], abs=1e-6)


def test_noise_in_the_context_is_not_trusted():
    rng = np.random.default_rng(6)
    model = mixture(block(6))
    few = model.fit(sums_of([sample(rng, [0.3 * i] + [0.0] * 6, 150) for i in range(3)]))
    # While little is seen, members so tight that they say nearly the same share the weight.
    loose = sum(w for n, w in zip(model.names, few.weights, strict=True) if n.split()[0] in LOOSE)
    assert loose < 0.1
    assert np.abs(few.mean[:, 1:]).max() < 0.05
    many = model.fit(sums_of([sample(rng, [0.3 * i] + [0.0] * 6, 5_000) for i in range(3)]))
    assert trust(model, many, "none") > 0.7


def test_strong_context_of_each_providers_own_is_trusted():
    rng = np.random.default_rng(7)
    data = [sample(rng, w, 150, noise=0.1) for w in ([0.5, 0.3, 0.0], [0.5, -0.3, 0.0], [0.5, 0.0, 0.3])]
    model = mixture(block(2))
    belief = model.fit(sums_of(data))
    assert trust(model, belief, "all@") > 0.999
    np.testing.assert_allclose(belief.mean[0], [0.5, 0.3, 0.0], atol=0.05)
    np.testing.assert_allclose(belief.mean[1], [0.5, -0.3, 0.0], atol=0.05)


def test_difficulty_that_all_providers_share_is_pooled():
    rng = np.random.default_rng(8)
    common = [0.2, -0.1, 0.15, 0.1]
    data = [sample(rng, [0.4 + 0.02 * i, *common], 60) for i in range(6)]
    model = mixture(block(4))
    belief = model.fit(sums_of(data))
    assert trust(model, belief, "pooled") > 0.99
    assert trust(model, belief, "all@") > 0.99


def test_the_block_that_informs_is_told_from_the_one_that_does_not():
    rng = np.random.default_rng(9)
    label, text = block(1, "label"), block(12, "text")
    data = [sample(rng, [0.5, slope] + [0.0] * 12, 150) for slope in (0.15, -0.15)]
    model = mixture(label, text)
    belief = model.fit(sums_of(data))
    assert trust(model, belief, "label@") > 20 * trust(model, belief, "text@")


def test_a_shifted_and_scaled_feature_says_the_same():
    rng = np.random.default_rng(10)
    n = 4_000
    data = [sample(rng, [0.5, 0.2, 0.0], n), sample(rng, [0.6, -0.1, 0.1], n)]
    model = mixture(block(2))
    plain = model.fit(sums_of(data))
    moved = [(x * [1.0, 3.0, 0.5] + np.outer(x[:, 0], [0.0, 2.0, -1.0]), y) for x, y in data]
    second = model.fit(sums_of(moved))
    # Equal but for the few imagined observations of unit variance in the scale.
    np.testing.assert_allclose(second.weights, plain.weights, atol=0.02)
    for (x, _), (z, _), i in zip(data, moved, range(2), strict=True):
        np.testing.assert_allclose(z[:50] @ second.mean[i], x[:50] @ plain.mean[i], atol=1e-4)
        before = np.einsum("nd,de,ne->n", x[:50], plain.cov[i], x[:50])
        after = np.einsum("nd,de,ne->n", z[:50], second.cov[i], z[:50])
        np.testing.assert_allclose(after, before, rtol=0.02)


def test_a_shifted_feature_says_exactly_the_same():
    rng = np.random.default_rng(11)
    data = [sample(rng, [0.5, 0.2], 30), sample(rng, [0.6, -0.1], 40)]
    model = mixture(block(1))
    plain = model.fit(sums_of(data))
    moved = [(x + np.outer(x[:, 0], [0.0, 5.0]), y) for x, y in data]
    second = model.fit(sums_of(moved))
    np.testing.assert_allclose(second.weights, plain.weights, rtol=1e-6)
    np.testing.assert_allclose(moved[0][0] @ second.mean[0], data[0][0] @ plain.mean[0], atol=1e-9)


def test_shifted_targets_shift_the_belief():
    rng = np.random.default_rng(12)
    data = [sample(rng, [0.5, 0.2], 30), sample(rng, [0.6, -0.1], 40)]
    model = mixture(block(1))
    plain = model.fit(sums_of(data))
    second = model.fit(sums_of([(x, y + 3.0) for x, y in data]))
    np.testing.assert_allclose(second.weights, plain.weights, rtol=1e-6)
    np.testing.assert_allclose(second.mean - plain.mean, [[3.0, 0.0]] * 2, atol=1e-9)
    np.testing.assert_allclose(second.cov, plain.cov, rtol=1e-6, atol=1e-12)


def test_a_provider_without_observations_starts_from_what_the_others_know():
    rng = np.random.default_rng(13)
    levels = [0.68, 0.7, 0.72, 0.71]
    data = [sample(rng, [level, 0.2], 200) for level in levels] + [(np.empty((0, 2)), np.empty(0))]
    belief = mixture(block(1)).fit(sums_of(data))
    assert belief.mean[4, 0] == pytest.approx(0.7, abs=0.03)
    assert belief.mean[4, 1] > 0.1
    for at in (np.array([1.0, 0.0]), np.array([1.0, 1.5])):
        variance = np.einsum("d,kde,e->k", at, belief.cov, at)
        assert variance[4] > 10 * variance[:4].max()


def test_a_fit_is_a_pure_function_of_the_sums():
    rng = np.random.default_rng(14)
    data = [sample(rng, [0.5, 0.2], 30), sample(rng, [0.6, -0.1], 40)]
    model = mixture(block(1))
    sums = sums_of(data)
    before = [array.copy() for array in (sums.gram, sums.moment, sums.square, sums.count)]
    first = model.fit(sums)
    model.fit(sums_of(data[::-1]))
    again = model.fit(sums)
    for name in ("mean", "cov", "noise", "weights", "centre"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    after = (sums.gram, sums.moment, sums.square, sums.count)
    for first, second in zip(before, after, strict=True):
        np.testing.assert_array_equal(first, second)


def test_providers_in_another_order_believe_the_same():
    rng = np.random.default_rng(15)
    data = [sample(rng, [0.2 * i, 0.1 * i], 20 + i) for i in range(4)]
    model = mixture(block(1))
    first, second = model.fit(sums_of(data)), model.fit(sums_of(data[::-1]))
    np.testing.assert_allclose(first.mean, second.mean[::-1], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(first.cov, second.cov[::-1], rtol=1e-6, atol=1e-12)


def test_covariances_are_symmetric_and_positive():
    rng = np.random.default_rng(16)
    data = [sample(rng, [0.5, 0.1, 0.0, 0.0], n) for n in (0, 1, 3, 400)]
    cov = mixture(block(3)).fit(sums_of(data)).cov
    np.testing.assert_allclose(cov, cov.transpose(0, 2, 1), rtol=1e-8, atol=1e-14)
    assert np.linalg.eigvalsh(cov).min() > 0


def test_the_prior_is_what_observations_that_say_nothing_leave():
    """The closed form, against the general one on observations whose weight vanishes."""
    model = mixture(block(3, "a"), block(2, "b"))
    rows = np.zeros((4, 6))
    rows[:, 0] = 1e-9
    nothing = Sums(
        np.array([rows.T @ rows] * 2), np.array([rows.T @ rows[:, 0]] * 2), np.zeros(2), np.full(2, 1e-12)
    )
    belief, prior = model.fit(nothing), model.prior(2)
    np.testing.assert_allclose(prior.cov, belief.cov, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(prior.weights, belief.weights, rtol=1e-9)
    np.testing.assert_allclose(prior.noise, belief.noise, rtol=1e-9)
    np.testing.assert_allclose(prior.mean, belief.mean, atol=1e-9)
    np.testing.assert_array_equal(prior.centre, belief.centre)


def test_without_observations_the_prior_is_not_fitted(monkeypatch):
    model = mixture(block(3))
    monkeypatch.setattr(model, "_average", None)
    belief = model.fit(Sums(np.zeros((5, 4, 4)), np.zeros((5, 4)), np.zeros(5), np.zeros(5)))
    assert belief.cov.shape == (5, 4, 4)
    assert not np.shares_memory(belief.cov[0], belief.cov[1]), "each is conditioned on its own"
