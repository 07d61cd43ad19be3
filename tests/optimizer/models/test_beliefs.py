import numpy as np
import pytest

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.models.beliefs import OPTIMISM, PROVIDER_WIDTH, SMOOTHING, Beliefs
from fairlead.optimizer.models.pricing import TYPICAL_OUTPUT_TOKENS
from fairlead.optimizer.models.statistics import quantise
from fairlead.optimizer.types import Prices, Provider

BLOCKS = (Block("context", 2, isotropic=False),)
SMALL = Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=4.0)
LARGE = Prices(input_usd_per_mtok=10.0, output_usd_per_mtok=50.0, per_call_usd=0.001)


def beliefs(**prices) -> Beliefs:
    priced = prices or {"small": SMALL, "large": LARGE}
    return Beliefs(BLOCKS, [Provider(name=name, prices=price) for name, price in priced.items()])


def predicted(learned, row=(1.0, 0.0, 0.0), tokens=100.0):
    return learned.predict(np.array([row]), tokens)


def weighed(learned, shadow_price, latency_weight):
    return predicted(learned).utility(shadow_price=shadow_price, latency_weight=latency_weight)


def listed(input_tokens, *, small=TYPICAL_OUTPUT_TOKENS, large=TYPICAL_OUTPUT_TOKENS) -> list[float]:
    """USD of a call with so many output tokens, worked by hand."""
    return [(input_tokens * 1.0 + small * 4.0) / 1e6, 0.001 + (input_tokens * 10.0 + large * 50.0) / 1e6]


def taught(learned, n=200, seed=1):
    """Small is good at .6 and answers at typical length, large at .8 and at twice that."""
    rng = np.random.default_rng(seed)
    for seq in range(n):
        row = quantise(rng.normal(size=2))
        for name, quality, multiple in (("small", 0.6, 1.0), ("large", 0.8, 2.0)):
            learned.quality.add(name, row, quality + 0.1 * rng.normal(), seq=seq)
            learned.cost.add(name, row, multiple * rng.lognormal(-0.02, 0.2), seq=seq)
    learned.quality.refit()
    learned.cost.refit()
    learned.derive()
    return learned


def test_before_anything_is_learned_cost_is_as_listed_and_quality_even():
    learned = beliefs()
    prediction = predicted(learned)
    np.testing.assert_allclose(prediction.cost_usd[0], listed(100.0))
    np.testing.assert_allclose(prediction.quality, 0.5)
    assert np.isnan(prediction.latency_s).all()
    np.testing.assert_array_equal(prediction.expected[5, 0], 0.0)


def test_quality_and_the_length_of_answers_are_learned():
    learned = taught(beliefs())
    prediction = predicted(learned)
    np.testing.assert_allclose(prediction.quality[0], [0.6, 0.8], atol=0.03)
    np.testing.assert_allclose(prediction.cost_usd[0], listed(100.0, small=300, large=600), rtol=0.05)


def test_a_new_price_scales_the_cost_at_once():
    learned = taught(beliefs())
    before = predicted(learned)
    learned.configure(
        [Provider(name="small", prices=SMALL), Provider(name="large", prices=LARGE.scaled(0.25))]
    )
    after = predicted(learned)
    np.testing.assert_allclose(after.cost_usd[0], before.cost_usd[0] * [1.0, 0.25])
    # Of the output's price alone, only what the answer costs changes.
    dearer = Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=8.0)
    learned.configure([Provider(name="small", prices=dearer), Provider(name="large", prices=LARGE)])
    answer = before.cost_usd[0, 0] - 100 * 1.0 / 1e6
    np.testing.assert_allclose(predicted(learned).cost_usd[0], before.cost_usd[0] + [answer, 0.0])
    np.testing.assert_array_equal(after.quality, before.quality)


def test_a_cost_that_nobody_knows_is_the_dearest_known_and_never_nothing():
    learned = beliefs(small=SMALL, large=LARGE, unknown=None)
    cost = predicted(learned, tokens=0.0).cost_usd[0]
    assert cost[2] == cost[:2].max()
    assert (predicted(beliefs(one=None, two=None)).cost_usd > 0).all()


def test_a_free_provider_has_a_cost_of_next_to_nothing():
    free = Prices(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0)
    assert 0.0 < predicted(beliefs(free=free), tokens=1e6).cost_usd[0, 0] < 1e-9


def test_utility_is_quality_less_what_cost_and_latency_weigh():
    learned = taught(beliefs())
    for name, latency in (("small", 0.5), ("large", 2.0)):
        learned.count_latency(name, 0, latency, sign=1)
    prediction = predicted(learned)
    mean, spread = weighed(learned, 30.0, 0.1)
    expected = prediction.quality[0] - 30.0 * prediction.cost_usd[0] - 0.1 * np.array([0.5, 2.0])
    np.testing.assert_allclose(mean[0], expected)
    _, free = weighed(learned, 0.0, 0.0)
    assert (spread >= free).all() and (free >= SMOOTHING).all()


def test_an_unknown_latency_is_taken_to_be_that_of_the_others():
    learned = taught(beliefs())
    mean, _ = weighed(learned, 0.0, 5.0)
    np.testing.assert_allclose(mean, predicted(learned).quality)
    learned.count_latency("small", 0, 2.0, sign=1)
    mean, _ = weighed(learned, 0.0, 0.1)
    np.testing.assert_allclose(mean, predicted(learned).quality - 0.2)


def test_failures_take_their_share_of_quality():
    learned = taught(beliefs())
    before = predicted(learned).quality[0]
    for seq in range(40):
        learned.count_call("large", seq, failed=seq % 2 == 0, billed=0.0, sign=1)
        learned.now = seq
    after = predicted(learned)
    assert after.expected[5, 0, 1] == pytest.approx(0.5, abs=0.06)
    np.testing.assert_allclose(after.quality[0], before * (1.0 - after.expected[5, 0]))
    assert (after.explored_variance > 0).all()


def test_failures_are_paid_for_as_they_were_billed():
    for billed in (0.0, 0.5, 1.0):
        learned = taught(beliefs())
        usual = predicted(learned).cost_usd[0]
        for seq in range(200):
            learned.count_call("large", seq, failed=seq % 2 == 0, billed=billed, sign=1)
            learned.now = seq
        cost = predicted(learned).cost_usd[0]
        assert cost[0] == pytest.approx(usual[0], rel=0.03)
        assert cost[1] / usual[1] == pytest.approx(0.5 + 0.5 * billed, abs=0.03)


def test_failures_age_with_the_decisions_of_the_route_and_leave_no_trace_when_taken_back():
    learned, plain = taught(beliefs()), predicted(taught(beliefs()))
    for seq in range(30):
        learned.count_call("large", seq, failed=seq % 3 == 0, billed=0.0, sign=1)
    learned.now = 30
    at_once = predicted(learned).expected[5, 0, 1]
    assert at_once > 0.25
    learned.now = 3_000
    later = predicted(learned)
    assert later.expected[5, 0, 1] < 0.03
    assert later.explored_variance[0, 1] > plain.explored_variance[0, 1]
    for seq in range(0, 30, 3):
        learned.count_call("large", seq, failed=True, billed=0.0, sign=-1)
    again = predicted(learned)
    np.testing.assert_array_equal(again.expected, plain.expected)
    np.testing.assert_array_equal(again.explored_variance, plain.explored_variance)


def test_exploration_width_is_less_than_the_whole_belief():
    prediction = predicted(taught(beliefs(), n=5))
    assert (prediction.explored_variance < prediction.expected[1] ** 2).all()
    assert (prediction.explored_variance > 0).all()


def test_an_exploring_policy_believes_more_where_less_is_known():
    learned, bonus = taught(beliefs(), n=20), []
    for row in ((1.0, 0.0, 0.0), (1.0, 3.0, -3.0)):
        prediction = predicted(learned, row)
        plain, spread = prediction.utility(shadow_price=30.0, latency_weight=0.0)
        hopeful, same = prediction.utility(shadow_price=30.0, latency_weight=0.0, explores=True)
        np.testing.assert_allclose(hopeful - plain, OPTIMISM * prediction.expected[1])
        np.testing.assert_array_equal(same, spread)
        bonus.append(hopeful - plain)
    assert (bonus[1] > 1.2 * bonus[0]).all()
    # What a provider does not serve is not hoped for, and nothing is hoped for beyond what quality can be.
    learned.count_call("large", 0, failed=True, billed=0.0, sign=1)
    prediction = predicted(learned, (1.0, 8.0, -8.0))
    plain, _ = prediction.utility(shadow_price=0.0, latency_weight=0.0)
    hopeful, _ = prediction.utility(shadow_price=0.0, latency_weight=0.0, explores=True)
    most = 0.3 * OPTIMISM * (1.0 - prediction.expected[5])
    np.testing.assert_allclose(hopeful - plain, np.minimum(most, hopeful - plain))
    assert (hopeful - plain)[0, 1] < 0.3 * OPTIMISM


def test_levels_are_explored_fully_at_first_and_again_after_a_change():
    learned = taught(beliefs())

    def share() -> float:
        """Explored part of the spread at the average context, where there is none but the level's."""
        at = learned.quality.posterior.centre
        prediction = predicted(learned, at)
        return float(np.sqrt(prediction.explored_variance[0, 0] / prediction.expected[1, 0, 0] ** 2))

    learned.quality.since_change = 0
    assert share() == pytest.approx(1.0)
    learned.quality.since_change = 10**6
    assert share() == pytest.approx(PROVIDER_WIDTH, abs=1e-3)
    # Who joins later has its own beginning.
    learned.quality.add_arrival("small", 7, 0)
    assert share() == pytest.approx(1.0)
    learned.quality.add_arrival("small", 7, 10**6)
    assert share() == pytest.approx(PROVIDER_WIDTH, abs=1e-3)
    learned.quality.mark_change("small", 10**6, [])
    assert learned.quality.since_change == 0
