import numpy as np
import pytest

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.models.linear import LinearBelief
from fairlead.optimizer.models.reduction import DENSE, Reduction
from fairlead.optimizer.models.statistics import quantise

NARROW = Block("task", 5, isotropic=False)


def block(width, *, isotropic=True) -> Block:
    return Block("embedding", width, isotropic=isotropic)


def basis_of(rows, *blocks):
    """Return the map that contexts with these features (n, d) lead to."""
    with_intercept = np.column_stack([np.ones(len(rows)), rows])
    return Reduction(blocks).basis(with_intercept.T @ with_intercept, float(len(rows)))


def topics(rng, n, width, *, count=6, noise=0.3):
    """Embeddings around the centres of a few topics, and the topic of each."""
    centres = rng.normal(size=(count, width))
    topic = rng.integers(count, size=n)
    return centres[topic] + noise * rng.normal(size=(n, width)), topic


def test_narrow_blocks_are_modelled_as_they_are():
    assert not Reduction([NARROW, block(DENSE)]).is_needed
    rows = np.random.default_rng(0).normal(size=(300, 5 + 100))
    basis = basis_of(rows, NARROW, block(100))
    assert basis.shape == (1 + 5 + DENSE, 1 + 5 + 100)
    np.testing.assert_array_equal(basis[:6, :6], np.eye(6))
    assert not basis[:6, 6:].any() and not basis[6:, :6].any()


def test_the_directions_of_the_topics_are_kept_and_noise_is_left_out():
    rows, _ = topics(np.random.default_rng(1), 400, 128)
    basis = basis_of(rows, block(128))
    used = basis[1:][np.any(basis[1:] != 0.0, axis=1), 1:]
    assert 5 <= len(used) <= 8, "six centres differ in five directions"
    centred = rows - rows.mean(axis=0)
    assert np.square(centred @ used.T).sum() > 0.9 * np.square(centred).sum()
    np.testing.assert_allclose(used @ used.T, np.eye(len(used)), atol=1e-9)


def test_coordinates_with_units_of_their_own_are_brought_to_one_scale_first():
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(2_000, 80)) * 0.01
    rows[:, 0] = 5.0 * rng.normal(size=2_000)
    rows[:, 1:3] += 0.5 * rng.normal(size=(2_000, 1))
    as_sent = basis_of(rows, block(80))
    scaled = basis_of(rows, block(80, isotropic=False))
    assert np.abs(as_sent[1, 1:]).argmax() == 0
    assert set(np.abs(scaled[1, 1:]).argsort()[-2:]) == {1, 2}


@pytest.mark.parametrize("rows", [np.zeros((40, 100)), np.ones((40, 100)), np.eye(1, 100)])
def test_embeddings_that_never_differ_give_a_sound_belief(rows):
    belief = LinearBelief([block(100)], prior_mean=0.5, prior_variance=0.1)
    belief.set_providers(["a", "b"])
    for seq, row in enumerate(rows):
        belief.add("ab"[seq % 2], quantise(row), float(seq % 2), seq=seq)
    belief.refit()
    mean, variance = belief.predict(np.ones((1, 101)))
    assert np.isfinite(mean).all() and (variance > 0).all()


def test_a_wide_belief_learns_which_topic_each_provider_is_good_at():
    rng = np.random.default_rng(3)
    rows, topic = topics(rng, 700, 192)
    good = rng.random((6, 2)) < 0.5
    good[0], good[1] = (True, False), (False, True)
    belief = LinearBelief([block(192)], prior_mean=0.5, prior_variance=0.1)
    belief.set_providers(["a", "b"])
    for seq in range(600):
        chosen = int(rng.integers(2))
        belief.add("ab"[chosen], quantise(rows[seq]), float(good[topic[seq], chosen]), seq=seq)
        if belief.needs_fit:
            belief.refit()
    mean, _ = belief.predict(np.column_stack([np.ones(100), rows[600:]]))
    assert np.abs(mean - good[topic[600:]]).mean() < 0.1


def test_observations_between_two_fits_count_at_once():
    rng = np.random.default_rng(4)
    rows, _ = topics(rng, 60, 128)
    belief = LinearBelief([block(128)], prior_mean=0.5, prior_variance=0.1)
    belief.set_providers(["a"])
    for seq, row in enumerate(rows[:-1]):
        belief.add("a", quantise(row), 0.2, seq=seq)
    belief.refit()
    asked = np.concatenate([[1.0], rows[-1]])[None]
    before = belief.predict(asked)[:, 0, 0]
    belief.add("a", quantise(rows[-1]), 0.9, seq=60)
    after = belief.predict(asked)[:, 0, 0]
    assert after[0] > before[0] and after[1] < before[1]
    belief.add("a", quantise(rows[-1]), 0.9, seq=60, sign=-1)
    np.testing.assert_allclose(belief.predict(asked)[:, 0, 0], before, rtol=1e-6)


def test_the_posterior_is_a_function_of_the_set_of_observations_and_survives_a_snapshot():
    rng = np.random.default_rng(5)
    rows, _ = topics(rng, 150, 100)
    observed = [("ab"[i % 2], quantise(row), float(rng.random()), i) for i, row in enumerate(rows)]

    def learned(observations):
        belief = LinearBelief([block(100)], prior_mean=0.5, prior_variance=0.1)
        belief.set_providers(["a", "b"])
        for name, row, target, seq in observations:
            belief.add(name, row, target, seq=seq)
        belief.refit()
        return belief

    belief, again = learned(observed), learned(observed[::-1])
    asked = np.column_stack([np.ones(20), rng.normal(size=(20, 100))])
    np.testing.assert_array_equal(belief.predict(asked), again.predict(asked))
    restored = LinearBelief([block(100)], prior_mean=0.5, prior_variance=0.1)
    restored.set_providers(["a", "b"])
    restored.restore(belief.state())
    np.testing.assert_array_equal(belief.predict(asked), restored.predict(asked))
    np.testing.assert_array_equal(belief.expect(asked), restored.expect(asked))


def learned_from(names, judged, *, width=100):
    """Return a belief about these providers, of which those in ``judged`` have observations."""
    rng = np.random.default_rng(7)
    belief = LinearBelief([NARROW, block(width)], prior_mean=0.5, prior_variance=0.1)
    belief.set_providers(names)
    for seq in range(60):
        x = rng.normal(size=5 + width)
        belief.add(judged[seq % len(judged)], quantise(x), 0.5 + x[5] / 10, seq=seq)
    return belief


def test_one_provider_without_observations_stands_for_all_of_them():
    names = [f"p{i}" for i in range(12)]
    belief = learned_from(names, ["p3", "p8"])
    every = belief._fit_sparse(belief._mixture, belief._stacked(names), [])
    fitted = belief.fit()
    assert fitted.mean.shape == (12, 1 + 5 + DENSE)
    for name in ("mean", "cov", "noise", "weights", "centre", "basis"):
        np.testing.assert_allclose(getattr(fitted, name), getattr(every, name), atol=1e-9, err_msg=name)
    for i in {*range(12)} - {3, 8}:
        np.testing.assert_array_equal(fitted.cov[i], fitted.cov[0])
    assert np.abs(fitted.mean[3] - fitted.mean[0]).max() > 1e-3


def test_a_fit_is_the_same_whatever_providers_without_observations_came_before():
    few = learned_from(["a", "b", "c"], ["a", "c"])
    many = learned_from(["c", "x", "b", "y", "a"], ["a", "c"])
    many.set_providers(["a", "b", "c"])
    first, second = few.fit(), many.fit()
    np.testing.assert_array_equal(first.mean, second.mean)
    np.testing.assert_array_equal(first.cov, second.cov)
