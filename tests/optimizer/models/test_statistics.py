import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.models.posterior import Mixture, Sums
from fairlead.optimizer.models.statistics import ROW_BITS, Statistics, quantise

WIDTH = 3
CONTEXT = (Block("context", WIDTH, isotropic=False),)

coordinate = st.floats(-8.0, 8.0) | st.sampled_from([-8.0, 8.0, 0.0, 2.0**-16])
observations = st.lists(
    st.tuples(st.lists(coordinate, min_size=WIDTH, max_size=WIDTH), st.floats(-8.0, 8.0)), max_size=25
)


def folded(seen, sign=1, into=None) -> Statistics:
    statistics = into or Statistics(width=WIDTH)
    for features, target in seen:
        statistics.add(quantise(np.array(features)), target, sign=sign)
    return statistics


def truth(seen, bits=16):
    """Sum in Python's whole numbers, which never overflow and never round."""
    size = WIDTH + 1
    gram, moment, square = [[0] * size for _ in range(size)], [0] * size, 0
    for features, target in seen:
        row = [1 << ROW_BITS] + [round(value * 2**ROW_BITS) for value in features]
        y = round(target * 2**bits)
        square += y * y
        for i in range(size):
            moment[i] += row[i] * y
            for j in range(size):
                gram[i][j] += row[i] * row[j]
    return gram, moment, square


def assert_same(first: Statistics, second: Statistics) -> None:
    left, right = first.state(), second.state()
    assert left.keys() == right.keys()
    for key in left:
        assert left[key].dtype == np.int64
        np.testing.assert_array_equal(left[key], right[key])


@given(observations, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_any_order_gives_the_same_bits(seen, random):
    shuffled = list(seen)
    random.shuffle(shuffled)
    assert_same(folded(seen), folded(shuffled))


@given(observations, observations, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_what_was_taken_back_leaves_no_trace(kept, repeated, random):
    signed = [(observation, 1) for observation in kept + repeated] + [
        (observation, -1) for observation in repeated
    ]
    random.shuffle(signed)
    statistics = Statistics(width=WIDTH)
    for observation, sign in signed:
        folded([observation], sign, into=statistics)
    assert_same(statistics, folded(kept))


@given(observations, st.integers(0, 25))
@settings(max_examples=60, deadline=None)
def test_two_halves_merge_to_the_whole_and_part_again(seen, cut):
    left, right = folded(seen[:cut]), folded(seen[cut:])
    left.merge(right)
    assert_same(left, folded(seen))
    left.merge(right, sign=-1)
    assert_same(left, folded(seen[:cut]))


@given(observations)
@settings(max_examples=60, deadline=None)
def test_sums_are_exact(seen):
    state = folded(seen).state()
    gram, moment, square = truth(seen)
    assert state["gram"].tolist() == gram
    assert state["moment"].tolist() == moment
    assert state["scalars"].tolist() == [square, len(seen), 16]


@given(observations)
@settings(max_examples=30, deadline=None)
def test_state_round_trips_and_is_a_copy(seen):
    statistics = folded(seen)
    state = statistics.state()
    restored = Statistics.from_state(state)
    assert_same(restored, statistics)
    state["gram"] += 1
    assert_same(restored, statistics)


def test_a_run_longer_than_one_block_of_summation_stays_exact():
    rng = np.random.default_rng(1)
    rows = rng.choice([-8.0, 8.0, 7.99998], size=(2_500, WIDTH))
    seen = [(row.tolist(), float(y)) for row, y in zip(rows, rng.choice([-8.0, 7.9999], 2_500), strict=True)]
    gram, moment, square = truth(seen)
    state = folded(seen).state()
    assert state["gram"].tolist() == gram
    assert state["moment"].tolist() == moment
    assert state["scalars"].tolist() == [square, 2_500, 16]


@pytest.mark.parametrize("bits", [12, 16])
def test_eight_million_observations_at_the_bounds_neither_overflow_nor_round(bits):
    limit = 2.0 ** (19 - bits)
    seen = [([8.0, -8.0, 8.0 - 2.0**-16], limit), ([8.0, 8.0, -8.0], -limit), ([8.0, 8.0, 1e-5], limit)]
    seen += [([8.0, -8.0, 0.3], limit)]
    statistics = Statistics(width=WIDTH, target_bits=bits)
    folded(seen, into=statistics)
    for _ in range(21):
        statistics.merge(statistics)
    gram, moment, square = truth(seen, bits)
    times = 1 << 21
    state = statistics.state()
    assert statistics.count == 1 << 23
    assert state["gram"].tolist() == [[value * times for value in row] for row in gram]
    assert state["moment"].tolist() == [value * times for value in moment]
    assert state["scalars"].tolist()[:2] == [square * times, 1 << 23]
    assert state["gram"][1, 1] == 1 << 61


def test_targets_and_features_beyond_the_bounds_count_as_the_bounds():
    beyond, at = Statistics(width=1), Statistics(width=1)
    beyond.add(quantise(np.array([1e9])), -1e9)
    at.add(quantise(np.array([8.0])), -2048.0)
    assert_same(beyond, at)


def test_sums_are_in_the_units_of_the_observations():
    statistics = Statistics(width=1, target_bits=12)
    statistics.add(quantise(np.array([0.5])), 3.0)
    gram, moment, square = statistics.sums()
    np.testing.assert_array_equal(gram, [[1.0, 0.5], [0.5, 0.25]])
    np.testing.assert_array_equal(moment, [3.0, 1.5])
    assert square == 9.0


def posterior(parts):
    """Of one provider, from (statistics, share) pairs, as forgetting weighs them."""
    sums = [(part.sums(), part.count, share) for part, share in parts]
    gram = sum(share * part[0] for part, _, share in sums)
    moment = sum(share * part[1] for part, _, share in sums)
    square = sum(share * part[2] for part, _, share in sums)
    count = sum(share * n for _, n, share in sums)
    stacked = Sums(gram[None], moment[None], np.array([square]), np.array([float(count)]))
    return Mixture(CONTEXT, prior_mean=0.5, prior_variance=0.1).fit(stacked)


@pytest.mark.parametrize("forgetting", [False, True])
def test_after_ten_million_observations_the_posterior_is_that_of_an_exact_solve(forgetting):
    rng = np.random.default_rng(2)
    weights = np.array([0.4, 0.1, -0.05, 0.02])

    def stream(weights):
        features = rng.normal(size=(40, WIDTH)) * [1.0, 0.01, 2.0] + [0.0, 3.0, 0.0]
        rows = np.array([quantise(row) for row in features]) / 2.0**ROW_BITS
        targets = np.rint((rows @ weights + 0.1 * rng.normal(size=40)) * 2**16) / 2**16
        statistics = Statistics(width=WIDTH)
        for row, target in zip(rows, targets, strict=True):
            statistics.add(row * 2.0**ROW_BITS, float(target))
        return rows, targets, statistics

    rows, targets, statistics = stream(weights)
    for _ in range(18):
        statistics.merge(statistics)
    assert statistics.count > 10_000_000
    gram, moment = rows.T @ rows * 2.0**18, rows.T @ targets * 2.0**18
    parts = [(statistics, 1.0)]
    if forgetting:
        old_rows, old_targets, old = stream(-weights)
        for _ in range(18):
            old.merge(old)
        share = 5.0 / old.count
        parts.append((old, share))
        gram = gram + old_rows.T @ old_rows * (2.0**18 * share)
        moment = moment + old_rows.T @ old_targets * (2.0**18 * share)
    belief = posterior(parts)
    # Next to ten million observations no prior precision of this mixture counts for more than its share.
    exact = np.linalg.solve(gram, moment)
    at = rows.mean(axis=0)
    assert abs(belief.mean[0] @ at - exact @ at) < 1e-6
    np.testing.assert_allclose(belief.mean[0], explicit(belief, (gram, moment), parts), rtol=0, atol=1e-8)
    assert np.linalg.eigvalsh(belief.cov[0]).min() > 0


def explicit(belief, total_sums, parts):
    """Mean of the mixture, each member by orthogonal factorisation in the data's own coordinates."""
    gram, moment = total_sums
    total = sum(part.count * share for part, share in parts)
    centre, level = gram[0, 1:] / total, moment[0] / total
    scale = np.sqrt(((np.diag(gram)[1:] / total - centre**2) * total + 4.0) / (total + 4.0))
    to = np.eye(WIDTH + 1)
    to[1:, 0] = -centre / scale
    to[np.arange(1, WIDTH + 1), np.arange(1, WIDTH + 1)] = 1.0 / scale
    spread = sum(part.sums()[2] * share for part, share in parts) / total - level**2
    names = Mixture(CONTEXT, prior_mean=0.5, prior_variance=0.1).names
    mean, kept = np.zeros(WIDTH + 1), 0.0
    for name, weight in zip(names, belief.weights, strict=True):
        if weight <= 1e-3:
            continue
        pattern = name.removesuffix(" pooled")
        precision = np.array([1.0] + [1e7 if pattern == "none" else float(pattern.split("@")[1])] * WIDTH)
        own = to @ (moment - level * gram[0])
        inner = to @ gram @ to.T
        if name.endswith("pooled"):
            a = inner + np.diag(precision)
            noise = member_noise(
                inner + np.diag(precision), own, spread=spread, total=total, parts=parts, level=level
            )
            common_prior = np.where(precision >= 1e7, 1e7, precision * 0.25)
            common_prior[0] = 0.01
            tie = np.diag(precision) / noise
            joint = np.block([[np.diag(common_prior / spread) + tie, -tie], [-tie, a / noise]])
            solved = np.linalg.solve(joint, np.concatenate([np.zeros_like(own), own / noise]))
            member = solved[WIDTH + 1 :]
        else:
            member = np.linalg.solve(inner + np.diag(precision), own)
        mean += weight * member
        kept += weight
    mean /= kept
    mean[0] += level
    return mean @ to


def member_noise(precision, own, *, spread, total, parts, level):
    square = sum(share * (part.sums()[2] - 2 * level * part.sums()[1][0]) for part, share in parts)
    square += level**2 * total
    rest = square - own @ np.linalg.solve(precision, own)
    return (spread + rest / 2) / (1 + total / 2)
