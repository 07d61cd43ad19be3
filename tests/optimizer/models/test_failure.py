import random

from fairlead.optimizer.models.failure import FailureBelief


def test_one_failure_in_many_costs_little_and_an_outage_is_noticed_within_a_few_calls():
    belief = FailureBelief()
    for seq in range(60):
        belief.add(seq, failed=False)
    assert belief.probability() == 0.0
    belief.add(60, failed=True)
    assert 0.0 < belief.probability() < 0.07
    for seq in range(61, 70):
        belief.add(seq, failed=True)
    assert belief.probability() > 0.3
    for seq in range(70, 150):
        belief.add(seq, failed=False)
    assert belief.probability() == 0.0


def test_failures_run_on_the_place_in_the_order_and_not_on_arrival():
    seen = [(seq, seq % 7 == 0 or 40 < seq < 48) for seq in range(200)]
    plain, other = FailureBelief(), FailureBelief()
    for seq, failed in seen:
        plain.add(seq, failed)
    random.Random(4).shuffle(seen)
    for seq, failed in seen:
        other.add(seq, failed)
    assert other.probability() == plain.probability()


def test_outcomes_taken_back_make_room_for_those_before_them():
    plain, other = FailureBelief(), FailureBelief()
    for seq in range(120):
        failed = seq % 9 == 0
        other.add(seq, failed)
        if seq < 100:
            plain.add(seq, failed)
    for seq in range(100, 120):
        other.remove(seq, seq % 9 == 0)
    assert other.probability() == plain.probability()


def test_a_corrected_outcome_replaces_the_first():
    plain, corrected = FailureBelief(), FailureBelief()
    for seq in range(30):
        plain.add(seq, failed=seq == 29)
        corrected.add(seq, failed=seq in (12, 29))
    corrected.remove(12, failed=True)
    corrected.add(12, failed=False)
    assert corrected.probability() == plain.probability()
    corrected.remove(500, failed=True)
    assert corrected.probability() == plain.probability()
