"""Evidence from before counts as much as the route's own observations say that it should."""

import numpy as np
import pytest
from scipy.stats import multivariate_t

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.models.linear import PAST_WORTH, LinearBelief
from fairlead.optimizer.models.posterior import Sums, _Members
from fairlead.optimizer.models.prior import Means
from fairlead.optimizer.models.statistics import quantise
from fairlead.optimizer.models.trust import added, powers_of

WIDTH = 3
BLOCKS = (Block("context", WIDTH, isotropic=False),)
NAMES = ("a", "b", "c")
WEIGHTS = {"a": (0.3, 0.1, 0.0, 0.0), "b": (0.6, -0.2, 0.1, 0.0), "c": (0.8, 0.0, 0.0, 0.1)}


def belief(names=NAMES, blocks=BLOCKS) -> LinearBelief:
    linear = LinearBelief(blocks, prior_mean=0.5, prior_variance=0.1)
    linear.set_providers(names)
    return linear


def labelled(n, *, seed, weights=WEIGHTS, names=NAMES):
    """Return features (n, d) and targets (n,) of each provider."""
    rng = np.random.default_rng(seed)
    features = np.round(rng.normal(size=(n, WIDTH)), 3)
    rows = np.column_stack([np.ones(n), features])
    return features, {name: rows @ weights[name] + 0.1 * rng.normal(size=n) for name in names}


def means(features, targets) -> Means:
    return Means(features, targets, targets**2, np.ones(len(targets)))


def told(linear, features, targets, *, source="evals", seq=0):
    linear.know(source, seq, {name: means(features, values) for name, values in targets.items()})
    linear.refit()
    return linear


def observed(linear, features, targets, *, first=0):
    """Observe one provider per row, turn by turn."""
    names = sorted(targets)
    for i, row in enumerate(features):
        name = names[i % len(names)]
        linear.add(name, quantise(row), float(targets[name][i]), seq=first + i)
    linear.refit()
    return linear


def test_evidence_that_is_trusted_is_as_good_as_having_observed_it():
    features, targets = labelled(80, seed=0)
    told_before = observed(told(belief(), features, targets), *labelled(300, seed=1), first=1)
    lived = belief()
    for name, values in targets.items():
        for row, target in zip(features, values.tolist(), strict=True):
            lived.add(name, quantise(row), target, seq=0)
    lived = observed(lived, *labelled(300, seed=1), first=1)
    assert told_before.trust == {"evals": pytest.approx(1.0, abs=1e-3)}
    for name in ("mean", "cov", "noise", "weights", "centre"):
        left, right = getattr(told_before.posterior, name), getattr(lived.posterior, name)
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-12)


def test_evidence_that_was_taken_back_leaves_no_trace():
    features, targets = labelled(80, seed=0)
    never, withdrawn = belief(), told(belief(), features, targets)
    withdrawn.know("evals", 1, dict.fromkeys(NAMES))
    for linear in (never, withdrawn):
        observed(linear, *labelled(50, seed=1), first=1)
    for name in ("mean", "cov", "noise", "weights", "centre"):
        np.testing.assert_array_equal(getattr(never.posterior, name), getattr(withdrawn.posterior, name))
    assert withdrawn.trust == {}
    assert withdrawn.state().keys() == never.state().keys()


def test_evidence_that_misleads_fades_within_forty_observations():
    features, targets = labelled(200, seed=0)
    misleading = {"a": targets["c"], "b": targets["a"], "c": targets["b"]}
    linear = told(belief(), features, misleading)
    before = linear.posterior.mean[:, 0].copy()
    assert before[0] > before[2] > before[1]
    observed(linear, *labelled(40, seed=1), first=1)
    assert linear.trust["evals"] < 0.01
    cold = observed(belief(), *labelled(40, seed=1), first=1)
    np.testing.assert_allclose(linear.posterior.mean, cold.posterior.mean, atol=0.01)


def test_nothing_observed_says_nothing_about_trust():
    linear = told(belief(), *labelled(200, seed=0))
    assert linear.trust["evals"] == pytest.approx(0.5 * 1.0 + 0.25 * 0.1 + 0.125 * 0.01)
    assert linear.earned("a") == pytest.approx(200 * linear.trust["evals"])


def test_likelihood_is_that_of_new_observations_given_the_known_ones():
    """Against the joint Student distribution of all of them: Bishop (2006), eq. 2.162."""
    rng = np.random.default_rng(3)
    targets, spread = rng.normal(0.1, 0.3, size=25), 0.1

    def joint(values):
        shape = np.eye(len(values)) + 1.0  # noise, and an intercept of precision 1
        return multivariate_t(np.zeros(len(values)), spread * shape, df=2).logpdf(values)

    def alone(values):
        n = len(values)
        sums = Sums(
            np.full((1, 1, 1), float(n)),
            np.full((1, 1), values.sum()),
            values @ values * np.ones(1),
            np.ones(1) * n,
        )
        return float(_Members(np.ones((1, 1)), sums, spread).evidence[0, 0])

    assert alone(targets) - alone(targets[:10]) == pytest.approx(joint(targets) - joint(targets[:10]))


def test_one_false_source_of_two_is_told_apart():
    features, targets = labelled(200, seed=0)
    linear = told(belief(), features, targets, source="good")
    told(linear, features, {"a": targets["c"], "b": targets["a"], "c": targets["b"]}, source="bad")
    observed(linear, *labelled(60, seed=1), first=1)
    assert linear.trust["good"] > 0.95
    assert linear.trust["bad"] < 0.05


def test_sources_are_trusted_alike_or_one_is_told_from_the_others():
    powers, likely = powers_of(1)
    assert powers.tolist() == [[1.0], [0.1], [0.01], [0.0]]
    assert likely.tolist() == [0.5, 0.25, 0.125, 0.125]
    powers, likely = powers_of(2)
    assert powers[4:].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert likely.sum() == pytest.approx(1.0)
    assert likely[:4].sum() == pytest.approx(likely[4:].sum())
    assert len({tuple(row) for row in powers_of(4)[0].tolist()}) == 4 + 2 * 4


def test_means_count_at_the_average_context():
    """A mean of 100 answers is what 100 answers to average requests would be."""
    features, targets = labelled(60, seed=1)
    unknown = Means(np.full((1, WIDTH), np.nan), np.array([0.7]), np.array([0.5]), np.array([100.0]))
    linear = belief()
    linear.know("published", 0, {"a": unknown})
    observed(linear, features, targets, first=1)
    live = Sums(*(np.zeros(shape) for shape in ((3, 4, 4), (3, 4), 3, 3)))
    for i, name in enumerate(NAMES):
        live.gram[i], live.moment[i], live.square[i], live.count[i] = linear._sums(name)
    centre = live.gram[:, 0].sum(axis=0) / 60
    (evidence,) = linear._evidence(live, NAMES)
    np.testing.assert_allclose(evidence.gram[0], 100 * np.outer(centre, centre))
    np.testing.assert_allclose(evidence.moment[0], 70 * centre)
    assert (evidence.square[0], evidence.count[0]) == (50.0, 100.0)
    assert not evidence.gram[1:].any()


def test_what_was_known_of_a_provider_before_its_change_counts_for_little():
    linear = told(belief(), *labelled(200, seed=0))
    observed(linear, *labelled(60, seed=1), first=1)
    before = linear.earned("a")
    linear.mark_change("a", 61, [])
    linear.refit()
    assert before > 100
    assert linear.earned("a") <= PAST_WORTH
    assert linear.earned("b") == pytest.approx(200 * linear.trust["evals"])


def test_a_newcomer_can_be_known_before_it_serves():
    linear = observed(belief(("a", "b")), *labelled(100, seed=0, names=("a", "b")))
    linear.set_providers(NAMES)
    linear.refit()
    cold = linear.level_variance[2]
    features, targets = labelled(100, seed=2)
    told(linear, features, {"c": targets["c"]}, source="evals of c", seq=100)
    assert linear.level_variance[2] < cold
    observed(linear, features[:12], {"c": targets["c"][:12]}, first=101)
    assert linear.trust["evals of c"] > 0.8
    assert linear.posterior.mean[2, 0] == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("width", [3, 100])
def test_state_and_restore_go_on_bit_for_bit(width):
    rng = np.random.default_rng(0)
    blocks = (Block("context", width, isotropic=True),)
    features, targets = rng.normal(size=(30, width)), {name: rng.random(30) for name in NAMES}
    partly = features.copy()
    partly[::3, 1:] = np.nan
    linear = belief(blocks=blocks)
    linear.know("evals", 0, {name: means(partly, values) for name, values in targets.items()})
    linear.refit()
    for i, row in enumerate(features[:9]):
        linear.add(NAMES[i % 3], quantise(row), 0.5, seq=1 + i)
    copy = belief(blocks=blocks)
    copy.restore(linear.state())
    for each in (linear, copy):
        each.add("a", quantise(features[20]), 1.0, seq=20)
        each.refit()
    for name in ("mean", "cov", "noise", "weights", "centre"):
        np.testing.assert_array_equal(getattr(linear.posterior, name), getattr(copy.posterior, name))
    np.testing.assert_array_equal(linear.posterior.trust, copy.posterior.trust)
    assert linear.trust.keys() == {"evals"}


def test_sources_add_up_to_their_powers():
    rng = np.random.default_rng(0)

    def sums(n):
        rows = np.column_stack([np.ones(n), rng.normal(size=(n, WIDTH))])
        y = rng.random(n)
        return Sums((rows.T @ rows)[None], (y @ rows)[None], np.array([y @ y]), np.array([float(n)]))

    live, first, second = sums(5), sums(6), sums(7)
    total = added(live, [first, second], (1.0, 0.5))
    np.testing.assert_allclose(total.gram, live.gram + first.gram + 0.5 * second.gram)
    assert total.count[0] == 5 + 6 + 3.5
