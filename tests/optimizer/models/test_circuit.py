"""When a circuit opens, half opens and closes, and what it leaves to the failure rate."""

import numpy as np
import pytest

from fairlead.optimizer.models.circuit import CLOSED, scan

OK, BAD = False, True


def scanned(*outcomes, every=1):
    failed = np.array(outcomes, dtype=np.bool_)
    return scan(np.arange(len(failed)) * every, failed)


def state(*outcomes) -> str:
    return scanned(*outcomes)[0].state


def test_nothing_and_successes_leave_it_closed():
    assert scanned()[0] == scanned(*[OK] * 50)[0] == CLOSED


@pytest.mark.parametrize(("before", "failures"), [(0, 6), (5, 5), (20, 4), (100, 3), (250, 3)])
def test_it_opens_after_a_few_failures_in_a_row_fewer_the_better_it_was(before, failures):
    history = [OK] * before
    assert state(*history, *[BAD] * (failures - 1)) == "closed"
    circuit, counted = scanned(*history, *[BAD] * failures)
    assert (circuit.state, circuit.failures) == ("open", failures)
    assert circuit.since_seq == before + failures - 1
    np.testing.assert_array_equal(counted, [True] * before + [False] * failures)


@pytest.mark.parametrize(("share", "most"), [(0.02, 0.01), (0.1, 0.02), (0.3, 0.05)])
def test_a_provider_that_fails_now_and_then_seldom_trips_it(share, most):
    rng = np.random.default_rng(1)
    opened = [not scanned(*(rng.random(256) < share))[1].all() for _ in range(400)]
    assert np.mean(opened) <= most


def test_a_success_half_opens_it_three_close_it_and_a_failure_opens_it_again():
    outage = [*[OK] * 50, *[BAD] * 20]
    assert state(*outage, OK) == state(*outage, OK, OK) == "half_open"
    assert state(*outage, OK, OK, OK) == "closed"
    assert state(*outage, OK, OK, BAD) == "open"
    assert state(*outage, OK, OK, BAD, OK, OK) == "half_open"
    circuit, counted = scanned(*outage, OK, BAD, BAD, OK)
    assert (circuit.state, circuit.since_seq) == ("half_open", 73)
    # What follows a success counts: only so is a provider that fails half of its calls ever known for it.
    np.testing.assert_array_equal(counted[-4:], [True, True, False, True])


def test_a_provider_that_fails_half_of_its_calls_is_left_to_its_rate():
    closed, counts = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        circuit, counted = scanned(*np.zeros(60, dtype=bool), *(rng.random(190) < 0.5))
        closed.append(circuit.state == "closed")
        counts.append(counted[150:].mean())
    assert np.mean(closed) > 0.9
    assert np.mean(counts) > 0.9


def test_an_outage_much_longer_than_what_is_kept_stays_open():
    assert state(*[BAD] * 256) == "open"


def test_a_history_of_long_ago_says_little():
    history = [OK] * 100
    failed = np.array([*history, *[BAD] * 3])
    recent = np.arange(len(failed))
    long_ago = np.concatenate([np.arange(100), 10**6 + np.arange(3)])
    assert scan(recent, failed)[0].state == "open"
    assert scan(long_ago, failed)[0].state == "closed"
