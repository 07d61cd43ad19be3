import math
import random

import numpy as np
import pytest

from fairlead.optimizer.models.latency import BUCKET, LatencyBelief

BIN = 10 ** (1 / 16)


def learned(*latencies) -> LatencyBelief:
    belief = LatencyBelief()
    for seq, latency in enumerate(latencies):
        belief.add(latency, seq)
    return belief


def test_nothing_known_is_not_a_number_rather_than_zero():
    assert math.isnan(LatencyBelief().mean_s())
    assert math.isnan(LatencyBelief().quantile_s())


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("median_s", [0.02, 0.8, 30.0])
def test_a_quantile_is_exact_to_the_width_of_a_bin(share, median_s):
    latencies = median_s * np.random.default_rng(1).lognormal(0.0, 0.6, size=BUCKET - 1)
    belief = learned(*latencies.tolist())
    exact = np.quantile(latencies, share, method="inverted_cdf")
    assert exact / (1 + 1e-9) <= belief.quantile_s(share) <= exact * BIN * (1 + 1e-9)
    assert belief.mean_s() == pytest.approx(latencies.mean(), rel=0.005)
    assert belief.sd_s() == pytest.approx(latencies.std(), rel=0.05)


def test_a_spread_needs_two_latencies():
    belief = LatencyBelief()
    assert math.isnan(belief.sd_s())
    belief.add(1.0, 0)
    assert math.isnan(belief.sd_s())
    belief.add(1.0, BUCKET)
    assert belief.sd_s() == 0.0
    belief.add(3.0, BUCKET)
    assert belief.sd_s() == pytest.approx(math.sqrt(0.96), rel=0.15)  # weights 1/2, 1 and 1


def test_latencies_in_any_order_and_taken_back_leave_the_same_belief():
    latencies = list(enumerate(np.random.default_rng(2).lognormal(size=200).tolist()))
    plain, other = learned(*[latency for _, latency in latencies]), LatencyBelief()
    signed = [(*call, 1) for call in latencies + latencies[:50]] + [(*call, -1) for call in latencies[:50]]
    random.Random(3).shuffle(signed)
    for seq, latency, sign in signed:
        other.add(latency, seq, sign=sign)
    assert other.count == 200
    assert other.mean_s() == plain.mean_s()
    assert other.sd_s() == plain.sd_s()
    for share in (0.05, 0.5, 0.9, 1.0):
        assert other.quantile_s(share) == plain.quantile_s(share)


def test_what_lies_further_back_counts_for_less():
    belief = LatencyBelief()
    for seq in range(40 * BUCKET):
        belief.add(1.0 if seq < 39 * BUCKET else 3.0, seq)
    assert belief.mean_s() == pytest.approx(2.0, abs=0.01)
    belief.add(1e-3, 0)  # long forgotten
    assert belief.mean_s() == pytest.approx(2.0, abs=0.01)
    assert belief.state()["buckets"].tolist() == list(range(8, 40))
    assert belief.latest.in_a_row(2.9) == 0


@pytest.mark.parametrize("latency_s", [0.0, 1e-9, 200.0, 1e6])
def test_latencies_beyond_the_bins_count_at_their_ends(latency_s):
    belief = LatencyBelief()
    for seq in range(3):
        belief.add(latency_s, seq)
    assert 1e-3 < belief.quantile_s() <= 1e6 * BIN
    assert belief.mean_s() == pytest.approx(latency_s, abs=1e-6)


def test_calls_count_up_to_twice_what_others_take_at_most():
    assert learned(*[1.0] * 6, 2.0).mean_s() == pytest.approx(8 / 7)
    assert learned(*[1.0] * 6, 9.0).mean_s() == pytest.approx(8 / 7, rel=0.05)


def test_long_calls_that_are_usual_count_whole():
    """One in ten is a hundred times as long as the others."""
    assert learned(*[*[1.0] * 9, 100.0] * 10).mean_s() == pytest.approx(10.9)


@pytest.mark.parametrize("factor", [8.0, 30.0, 1e6])
def test_two_in_a_hundred_false_ones_next_to_nothing_change(factor):
    rng = np.random.default_rng(4)
    latencies = rng.lognormal(0.0, 0.3, size=400)
    false = np.where(rng.random(400) < 0.02, factor, 1.0)
    assert 6 <= np.count_nonzero(false > 1.0) <= 10
    plain, other = learned(*latencies.tolist()), learned(*(latencies * false).tolist())
    assert 0.99 * plain.mean_s() < other.mean_s() < 1.06 * plain.mean_s()
    assert other.quantile_s() < 1.2 * plain.quantile_s()


@pytest.mark.parametrize("outlier", [50.0, 1e3, 1e6])
def test_one_absurd_latency_changes_nothing_at_all(outlier):
    plain, other = learned(*[0.8, 1.0, 1.2] * 4), learned(*[0.8, 1.0, 1.2] * 4, outlier)
    assert other.count == plain.count + 1
    assert (other.mean_s(), other.sd_s()) == (plain.mean_s(), plain.sd_s())
    assert other.quantile_s() == plain.quantile_s()
    assert 1.2 <= other.most_s() < outlier


def test_a_first_value_does_not_confirm_itself_and_two_do():
    assert math.isnan(learned(1e6).mean_s())
    assert learned(30.0).mean_s() == pytest.approx(20.0, rel=0.15)
    assert learned(30.0, 30.0).mean_s() == 30.0
    assert learned(1e6, 1.0).mean_s() == 1.0
    assert learned(5e3, 5e3).mean_s() == 5e3


def test_slow_calls_are_bounded_in_what_they_count_for():
    belief = learned(*[1.0] * 20, 25.0)
    assert 1.0 < belief.mean_s() < 1.5
    assert belief.sd_s() < 3.0


@pytest.mark.parametrize("factor", [5.0, 50.0, 1_000.0, 0.1])
def test_a_provider_that_becomes_another_is_believed_after_half_of_its_latest_calls(factor):
    belief = learned(*[1.0] * 300)
    for seq in range(300, 312):
        belief.add(factor, seq)
    assert 0.95 < belief.mean_s() < 1.1
    for seq in range(312, 317):
        belief.add(factor, seq)
    assert (belief.mean_s() < 0.6) if factor < 1.0 else (belief.mean_s() > 0.4 * factor)
    for seq in range(317, 332):
        belief.add(factor, seq)
    assert belief.mean_s() == pytest.approx(factor)
    assert belief.quantile_s() == pytest.approx(factor, rel=0.16)
    assert max(factor, 1.0) <= belief.most_s()


def test_it_is_believed_of_what_is_taken_back_no_more():
    belief = learned(*[1.0] * 300, *[50.0] * 20)
    for seq in range(300, 320):
        belief.add(50.0, seq, sign=-1)
    assert belief.mean_s() == 1.0


def test_no_long_run_of_calls_is_needed_if_some_become_slow():
    """Of the calls after the change, three in ten take 50 times as long."""
    belief = learned(*[1.0] * 300)
    for seq in range(300, 370):
        belief.add(50.0 if seq % 10 < 3 else 1.0, seq)
    assert belief.mean_s() == pytest.approx((349 + 21 * 50.0) / 370)


def test_hours_count_where_hours_are_usual():
    assert learned(*[3000.0] * 9, 5000.0).mean_s() == pytest.approx(3200.0)
    assert learned(*[600.0] * 3, 1e4).mean_s() == pytest.approx(600.0)


def test_what_is_taken_back_of_a_bucket_that_was_let_go_breaks_nothing():
    belief = LatencyBelief()
    belief.add(1.0, 2 * BUCKET, sign=-1)
    for _ in range(2):
        belief.add(1.0, BUCKET)
    assert math.isnan(belief.mean_s()) and math.isnan(belief.sd_s())
    belief.add(1.0, 2 * BUCKET)
    assert belief.mean_s() == 1.0


@pytest.mark.parametrize("share", [0.25, 1.0])
@pytest.mark.parametrize("median_s", [0.01, 2.0, 300.0])
def test_a_latency_is_beyond_a_share_of_the_limit_exactly_if_it_is_greater(share, median_s):
    rng = random.Random(7)
    belief, kept, answers = LatencyBelief(), [], set()
    for seq in range(600):
        latency = median_s * rng.lognormvariate(0.0, 1.0)
        belief.add(latency, 9 * seq)
        kept.append((latency, 9 * seq))
        if rng.random() < 0.3:
            belief.add(*kept.pop(rng.randrange(len(kept))), sign=-1)
        most_s = belief.most_s()
        for asked in (
            latency,
            share * most_s,
            share * most_s * (1 + 1e-12),
            median_s * rng.paretovariate(0.4),
        ):
            assert belief.is_beyond(asked, share=share) == (asked > share * most_s)
            answers.add(asked > share * most_s)
    assert answers == {True, False}
