import random

import numpy as np
import pytest

from fairlead.optimizer.models.failure import NO_CALLS, Calls, FailureBelief, failure_rates


def calls(n, failures) -> Calls:
    return Calls(failures=failures, calls=n, billed=0.0, failures_billed=failures)


def rate_of(belief, now) -> float:
    return float(failure_rates([belief.calls(now)])[0, 0])


def taught(outcomes) -> FailureBelief:
    belief = FailureBelief()
    for seq, failed in enumerate(outcomes):
        belief.add(seq, bool(failed))
    return belief


def test_a_route_on_which_nothing_failed_expects_nothing_to_fail():
    np.testing.assert_array_equal(failure_rates([NO_CALLS, calls(80, 0)]), 0.0)
    assert FailureBelief().calls(5) == NO_CALLS


def test_one_failure_costs_little_and_less_the_longer_the_history():
    rates = [failure_rates([calls(n, 1), calls(200, 0)])[0, 0] for n in (5, 30, 200)]
    assert rates[0] < 0.08 and rates[1] < 0.04 and rates[2] < 0.01
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(("share", "n"), [(0.1, 185), (0.3, 40), (0.3, 185), (0.6, 40)])
def test_a_share_of_failures_that_is_out_of_the_ordinary_is_believed_as_it_is(share, n):
    rate, variance, _ = failure_rates([calls(n, share * n), calls(n, 0)])[:, 0]
    assert rate == pytest.approx(share, abs=0.035)
    assert variance**0.5 == pytest.approx((share * (1 - share) / n) ** 0.5, rel=0.4)


def test_one_bad_provider_does_not_speak_for_the_others():
    good, bad, unserved = failure_rates([calls(20, 0), calls(185, 55), NO_CALLS])[0]
    assert bad > 0.28
    assert good < 0.03 and unserved < 0.05


def test_a_rate_returns_to_the_ordinary_as_the_decisions_of_the_route_pass():
    belief = taught([False, True, False, False] * 20)
    rates = [rate_of(belief, now) for now in (80, 400, 1_000, 3_000)]
    assert rates[0] > 0.2
    assert rates[-1] < 0.06
    assert rates == sorted(rates, reverse=True)


def test_an_outage_is_left_to_the_circuit():
    healthy = [False] * 60
    before, after = taught([*healthy, True]), taught([*healthy, *[True] * 200])
    assert rate_of(after, 300) < rate_of(before, 61)
    assert after.circuit.state == "open"
    for seq in range(300, 303):
        after.add(seq, failed=False)
    assert after.circuit.state == "closed"
    assert rate_of(after, 303) < 0.02


def test_failures_run_on_the_place_in_the_order_and_not_on_arrival():
    seen = [(seq, seq % 7 == 0 or 40 < seq < 48, 0.5) for seq in range(400)]
    plain, other = FailureBelief(), FailureBelief()
    for call in seen:
        plain.add(*call)
    random.Random(4).shuffle(seen)
    for call in seen:
        other.add(*call)
    assert other.calls(450) == plain.calls(450)
    assert other.circuit == plain.circuit
    assert len(other.recent) == 256


def test_a_corrected_outcome_replaces_the_first():
    plain, corrected = FailureBelief(), FailureBelief()
    for seq in range(30):
        plain.add(seq, failed=seq == 29)
        corrected.add(seq, failed=seq in (12, 29))
    corrected.remove(12, failed=True)
    corrected.add(12, failed=False)
    assert corrected.calls(30) == plain.calls(30)
    corrected.remove(500, failed=True)
    assert corrected.calls(30) == plain.calls(30)


def test_what_failures_are_billed_at_is_learned_from_nothing():
    def billed_at(n, billed) -> float:
        belief = FailureBelief()
        for seq in range(n):
            belief.add(2 * seq, True, billed)
            belief.add(2 * seq + 1, False)
        return float(failure_rates([belief.calls(2 * n)])[2, 0])

    assert billed_at(40, 0.0) == 0.0
    assert billed_at(1, 1.0) < 0.4
    assert billed_at(100, 1.0) > 0.95
    assert billed_at(100, 0.5) == pytest.approx(0.5, abs=0.03)
